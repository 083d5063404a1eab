#include "checkpoint/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include <string>

#include "base/error.h"
#include "checkpoint/dtype_names.h"
#include "checkpoint/test_data.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class GgmlFormat : public ::testing::TestWithParam<const char*> {};

TEST_P(GgmlFormat, DecodesExactlyAsTheReference) {
  const auto files = OpenGguf(TestData("ggml.gguf"));
  const auto goldens = OpenSafetensors({TestData("ggml.safetensors")});
  const TensorEntry* entry = files->Find(GetParam());
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->dtype_name(), GetParam());
  const at::Tensor expected = ReadTensor(*goldens->Find(GetParam()), at::kFloat);
  EXPECT_TRUE(at::equal(ReadTensor(*entry, at::kFloat), expected));
  EXPECT_TRUE(at::equal(ReadTensor(*entry, at::kBFloat16), expected.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(ReadTensor(*entry, at::kHalf), expected.to(at::kHalf)));
  at::Tensor middle = at::empty({1, 512}, at::kFloat);
  DecodeRows(*entry, 1, 2, middle);
  EXPECT_TRUE(at::equal(middle[0], expected[1]));
}

INSTANTIATE_TEST_SUITE_P(Every, GgmlFormat,
                         ::testing::Values("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
                                           "IQ4_NL", "IQ4_XS"),
                         [](const auto& info) { return std::string(info.param); });

std::vector<TensorEntry> Entries(std::vector<GgufTensorInfo> tensors, size_t data_bytes) {
  GgufHeader header;
  header.tensors = std::move(tensors);
  header.data_offset = 64;
  static const std::string kZeros(1 << 16, '\0');
  return GgufEntries(header, std::as_bytes(std::span(kZeros)).first(64 + data_bytes), "x.gguf");
}

std::string Refusal(std::vector<GgufTensorInfo> tensors, size_t data_bytes) {
  return MessageOf<UserError>([&] { Entries(std::move(tensors), data_bytes); });
}

TEST(GgufTensors, AreCheckedAgainstTheFile) {
  EXPECT_EQ(Entries({{"w", {2, 32}, 8, 0}}, 68).at(0).bytes.size(), 68u);
  EXPECT_THAT(Refusal({{"w", {2, 32}, 8, 0}}, 67), AllOf(HasSubstr("tensor w"), HasSubstr("[2, 32]"), HasSubstr("Q8_0"), HasSubstr("67 bytes")));
  EXPECT_THAT(Refusal({{"w", {2, 33}, 8, 0}}, 1000), AllOf(HasSubstr("tensor w"), HasSubstr("33"), HasSubstr("blocks of 32")));
  EXPECT_THAT(Refusal({{"w", {1, 32}, 16, 0}}, 1000), AllOf(HasSubstr("tensor w"), HasSubstr("type 16"), HasSubstr("IQ4_XS")));
  EXPECT_THAT(Refusal({{"w", {1, 32}, 8, UINT64_MAX - 31}}, 1000), HasSubstr("beyond"));
  EXPECT_THAT(Refusal({{"w", {int64_t{1} << 61}, 0, 0}}, 1000), HasSubstr("beyond"));
  EXPECT_THAT(Refusal({{"v", {16}, 0, 0}, {"w", {16}, 0, 32}}, 1000), AllOf(HasSubstr("tensor w"), HasSubstr("overlaps v"), HasSubstr("64")));
}

TEST(GgufTensors, OfAFileCutAnywhereAreRefused) {
  const std::string whole = ReadFile(TestData("ggml.gguf"));
  const TemporaryFolder folder;
  for (size_t size = 0; size < whole.size(); size += 997) {
    const auto path = folder.Write("cut.gguf", std::string_view(whole).substr(0, size));
    EXPECT_THROW(OpenGguf(path), UserError) << size;
  }
}

}  // namespace
}  // namespace fathom
