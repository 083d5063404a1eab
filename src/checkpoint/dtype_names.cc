#include "checkpoint/dtype_names.h"

#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

constexpr std::pair<const char*, at::ScalarType> kSafetensors[] = {
    {"BOOL", at::kBool},   {"U8", at::kByte},       {"I8", at::kChar},     {"I16", at::kShort},
    {"U16", at::kUInt16},  {"I32", at::kInt},       {"U32", at::kUInt32},  {"I64", at::kLong},
    {"U64", at::kUInt64},  {"F16", at::kHalf},      {"BF16", at::kBFloat16}, {"F32", at::kFloat},
    {"F64", at::kDouble},  {"F8_E4M3", at::kFloat8_e4m3fn}, {"F8_E5M2", at::kFloat8_e5m2},
    {"F8_E8M0", at::kFloat8_e8m0fnu},
};

constexpr std::pair<const char*, at::ScalarType> kTorch[] = {
    {"float32", at::kFloat}, {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}, {"float64", at::kDouble},
};

constexpr GgmlTraits kGgml[] = {
    {GgmlType::kF32, "F32", 1, 4},          {GgmlType::kF16, "F16", 1, 2},        {GgmlType::kBF16, "BF16", 1, 2},
    {GgmlType::kQ4_0, "Q4_0", 32, 18},      {GgmlType::kQ4_1, "Q4_1", 32, 20},    {GgmlType::kQ5_0, "Q5_0", 32, 22},
    {GgmlType::kQ5_1, "Q5_1", 32, 24},      {GgmlType::kQ8_0, "Q8_0", 32, 34},    {GgmlType::kQ2_K, "Q2_K", 256, 84},
    {GgmlType::kQ3_K, "Q3_K", 256, 110},    {GgmlType::kQ4_K, "Q4_K", 256, 144},  {GgmlType::kQ5_K, "Q5_K", 256, 176},
    {GgmlType::kQ6_K, "Q6_K", 256, 210},    {GgmlType::kIQ4_NL, "IQ4_NL", 32, 18}, {GgmlType::kIQ4_XS, "IQ4_XS", 256, 136},
};

}  // namespace

std::optional<at::ScalarType> ScalarTypeFromSafetensors(std::string_view name) {
  for (const auto& [known, dtype] : kSafetensors)
    if (name == known) return dtype;
  return std::nullopt;
}

std::string SafetensorsName(at::ScalarType dtype) {
  for (const auto& [name, known] : kSafetensors)
    if (dtype == known) return name;
  FATHOM_CHECK(false, "safetensors has no name for {}", c10::toString(dtype));
  return {};
}

std::optional<at::ScalarType> ScalarTypeFromTorchName(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  for (const auto& [known, dtype] : kTorch)
    if (name == known) return dtype;
  return std::nullopt;
}

std::string TorchName(at::ScalarType dtype) {
  for (const auto& [name, known] : kTorch)
    if (dtype == known) return name;
  FATHOM_CHECK(false, "no configuration name for {}", c10::toString(dtype));
  return {};
}

const GgmlTraits* FindGgmlTraits(uint32_t type) {
  for (const GgmlTraits& traits : kGgml)
    if (static_cast<uint32_t>(traits.type) == type) return &traits;
  return nullptr;
}

const GgmlTraits& TraitsOf(GgmlType type) {
  const GgmlTraits* traits = FindGgmlTraits(static_cast<uint32_t>(type));
  FATHOM_CHECK(traits != nullptr, "ggml type {} is not read", static_cast<uint32_t>(type));
  return *traits;
}

}  // namespace fathom
