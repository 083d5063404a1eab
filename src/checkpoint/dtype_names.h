// Names of number formats: safetensors' ("BF16", "F8_E4M3"), Hugging Face's ("bfloat16") and ggml's ("Q4_K").
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/tensor_file.h"

namespace fathom {

// nullopt for a name that safetensors does not have or this program does not read.
std::optional<at::ScalarType> ScalarTypeFromSafetensors(std::string_view name);
std::string SafetensorsName(at::ScalarType dtype);

// "float32", "bfloat16", "float16" (with or without "torch."); nullopt otherwise.
std::optional<at::ScalarType> ScalarTypeFromTorchName(std::string_view name);
std::string TorchName(at::ScalarType dtype);

// One ggml format: `block_numel` values are stored in `block_bytes` bytes.
struct GgmlTraits {
  GgmlType type;
  const char* name;
  int64_t block_numel;
  int64_t block_bytes;
};
// nullptr for a ggml_type that is not read.
const GgmlTraits* FindGgmlTraits(uint32_t type);
const GgmlTraits& TraitsOf(GgmlType type);

}  // namespace fathom
