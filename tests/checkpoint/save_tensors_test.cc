#include "checkpoint/save_tensors.h"

#include <ATen/ops/arange.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace fathom {
namespace {

TEST(SaveTensors, WritesAHeaderThatDescribesTheBytesBehindIt) {
  const auto path = std::filesystem::temp_directory_path() / ("fathom_tensors_" + std::to_string(getpid()) + ".safetensors");
  const at::Tensor a = at::arange(6, at::kFloat).reshape({2, 3}).t();  // not contiguous
  const at::Tensor b = at::arange(3, at::kFloat).to(at::kBFloat16);
  SaveTensors(path, {{"a", a}, {"b", b}});
  const std::string bytes = ReadFile(path);
  std::filesystem::remove(path);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  EXPECT_EQ(length % 8, 0u);
  const Json header = ParseJson(bytes.substr(8, length), "header");
  EXPECT_EQ(header["a"], (Json{{"dtype", "F32"}, {"shape", {3, 2}}, {"data_offsets", {0, 24}}}));
  EXPECT_EQ(header["b"], (Json{{"dtype", "BF16"}, {"shape", {3}}, {"data_offsets", {24, 30}}}));
  ASSERT_EQ(bytes.size(), 8 + length + 30);
  float values[6];
  std::memcpy(values, bytes.data() + 8 + length, 24);
  EXPECT_EQ(values[1], 3.0f);  // a[0][1]
}

TEST(SaveTensors, SaysWhyAFileCannotBeWritten) {
  EXPECT_THROW(SaveTensors("/nowhere/at/all.safetensors", {{"a", at::arange(2, at::kFloat)}}), MachineError);
}

}  // namespace
}  // namespace fathom
