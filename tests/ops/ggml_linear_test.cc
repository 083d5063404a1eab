#include "ops/ggml_linear/ggml_linear.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

constexpr BlockFormat kFormats[] = {BlockFormat::kQ4_0, BlockFormat::kQ4_1, BlockFormat::kQ8_0};

// Random blocks inside bytes that decode to NaN (0xff..: halves that are NaN).
at::Tensor RandomBlocks(RandomTensors& random, int64_t N, int64_t K, BlockFormat format) {
  const int64_t block_bytes = BlockBytes(format), row_bytes = K / kBlockValues * block_bytes;
  constexpr int64_t kMargin = 96;
  const at::Tensor memory = at::full({N * row_bytes + 2 * kMargin}, 255, at::TensorOptions(at::kByte));
  at::Tensor blocks = memory.narrow(0, kMargin, N * row_bytes).view({N, row_bytes});
  blocks.copy_(random.Integers(0, 256, {N, row_bytes}));
  auto* bytes = blocks.data_ptr<uint8_t>();
  for (int64_t b = 0; b < N * K / kBlockValues; ++b) {
    for (int64_t half = 0; half < (format == BlockFormat::kQ4_1 ? 2 : 1); ++half) {
      const c10::Half scale = static_cast<float>(random.Integer(-1000, 1000)) / 1024.0f;
      std::memcpy(bytes + b * block_bytes + half * 2, &scale.x, 2);
    }
  }
  return blocks;
}

// The values that the blocks stand for, in float64, from the formats' description.
at::Tensor Decode64(const at::Tensor& blocks, BlockFormat format) {
  const int64_t block_bytes = BlockBytes(format), num_blocks = blocks.numel() / block_bytes;
  at::Tensor out = at::empty({blocks.size(0), blocks.size(1) / block_bytes * kBlockValues}, at::kDouble);
  const auto* in = blocks.const_data_ptr<uint8_t>();
  auto* values = out.data_ptr<double>();
  const auto half = [](const uint8_t* at) { return static_cast<double>(c10::Half(static_cast<uint16_t>(at[0] | at[1] << 8), c10::Half::from_bits())); };
  for (int64_t b = 0; b < num_blocks; ++b, in += block_bytes, values += kBlockValues) {
    for (int i = 0; i < 16; ++i) {
      for (const int part : {0, 1}) {
        double& value = values[i + 16 * part];
        if (format == BlockFormat::kQ8_0) value = half(in) * static_cast<int8_t>(in[2 + i + 16 * part]);
        if (format == BlockFormat::kQ4_0) value = half(in) * ((in[2 + i] >> 4 * part & 15) - 8);
        if (format == BlockFormat::kQ4_1) value = half(in) * (in[4 + i] >> 4 * part & 15) + half(in + 2);
      }
    }
  }
  return out;
}

// The blocks' kernels are the CPU's alone.
class GgmlLinearRows : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!TestDevice().is_cpu()) GTEST_SKIP();
  }
};
class GgmlExpand : public GgmlLinearRows {};

TEST_F(GgmlLinearRows, MatchesTheFormulaForEveryFormatNumberOfRowsAndOddOutputs) {
  RandomTensors random(31);
  for (const BlockFormat format : kFormats) {
    for (const auto& [N, K] : std::vector<std::pair<int64_t, int64_t>>{{1, 32}, {5, 64}, {67, 96}, {13, 576}, {131, 1536}}) {
      const at::Tensor blocks = RandomBlocks(random, N, K, format), w = Decode64(blocks, format);
      for (int64_t M = 1; M <= kMaxLinearRows; ++M) {
        for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
          const at::Tensor x = random.Normal({M, K}, dtype), y = ggml_linear_rows(x, blocks, format);
          EXPECT_EQ(y.scalar_type(), dtype);
          EXPECT_TRUE(IsNear(y, at::linear(x.to(at::kDouble), w))) << M << " x " << N << " x " << K << " of " << static_cast<int64_t>(format);
        }
      }
    }
  }
}

TEST_F(GgmlLinearRows, DoesNotQuantiseTheActivations) {
  RandomTensors random(32);
  for (const BlockFormat format : kFormats) {
    const at::Tensor blocks = RandomBlocks(random, 64, 576, format);
    at::Tensor x = random.Normal({1, 576}, at::kBFloat16, 1e-3);
    x.select(1, 7).fill_(300);  // with one scale a block of x its neighbours would be lost
    const at::Tensor small = x.clone();
    small.select(1, 7).zero_();
    const at::Tensor w = Decode64(blocks, format);
    EXPECT_TRUE(IsNear(ggml_linear_rows(small, blocks, format), at::linear(small.to(at::kDouble), w)));
    const at::Tensor expected = at::linear(small.to(at::kDouble), w);  // of the order of 1
    const at::Tensor rest = ggml_linear_rows(x.to(at::kFloat), blocks, format).to(at::kDouble).sub(w.select(1, 7).mul(300).unsqueeze(0));
    EXPECT_LT(rest.sub(expected).abs().max().item<double>(), 0.05);
  }
}

TEST_F(GgmlLinearRows, GivesARowTheSameBitsAloneAndAmongOthers) {
  RandomTensors random(33);
  for (const BlockFormat format : kFormats) {
    const at::Tensor blocks = RandomBlocks(random, 301, 224, format);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = random.Normal({kMaxLinearRows, 224}, dtype), all = ggml_linear_rows(x, blocks, format);
      for (const int64_t M : {1, 2, 3, 4, 5, 7, 8, 9, 11, 15}) {
        for (int64_t first = 0; first + M <= kMaxLinearRows; first += M) {
          EXPECT_TRUE(IsSame(ggml_linear_rows(x.narrow(0, first, M).contiguous(), blocks, format), all.narrow(0, first, M))) << M;
        }
      }
      for (int64_t n = 0; n < 301; n += 43) {
        EXPECT_TRUE(IsSame(ggml_linear_rows(x, blocks.narrow(0, n, 1), format), all.narrow(1, n, 1).contiguous())) << n;
      }
    }
  }
}

TEST_F(GgmlExpand, RoundsTheValuesOnceToBf16) {
  RandomTensors random(34);
  for (const BlockFormat format : kFormats) {
    const at::Tensor blocks = RandomBlocks(random, 77, 96, format);
    const at::Tensor values = ggml_expand(blocks, format), expected = Decode64(blocks, format);
    EXPECT_EQ(values.scalar_type(), at::kBFloat16);
    const at::Tensor error = values.to(at::kDouble).sub(expected).abs();
    EXPECT_TRUE(error.le(expected.abs().mul(1.001 / 256).add(1e-6)).all().item<bool>());
  }
}

TEST_F(GgmlLinearRows, AcceptsNoRowsAndNoOutputs) {
  RandomTensors random(35);
  const at::Tensor blocks = RandomBlocks(random, 4, 64, BlockFormat::kQ4_1);
  EXPECT_EQ(ggml_linear_rows(at::empty({0, 64}), blocks, BlockFormat::kQ4_1).sizes(), (std::vector<int64_t>{0, 4}));
  EXPECT_EQ(ggml_linear_rows(at::empty({2, 64}), blocks.narrow(0, 0, 0), BlockFormat::kQ4_1).sizes(), (std::vector<int64_t>{2, 0}));
}

TEST_F(GgmlLinearRows, RefusesWhatItsKernelsDoNotHave) {
  RandomTensors random(36);
  const at::Tensor blocks = RandomBlocks(random, 4, 64, BlockFormat::kQ4_1);
  const auto multiply = [&](at::IntArrayRef sizes, at::ScalarType dtype) { ggml_linear_rows(random.Normal(sizes, dtype), blocks, BlockFormat::kQ4_1); };
  EXPECT_THROW(multiply({kMaxLinearRows + 1, 64}, at::kFloat), InvariantError);
  EXPECT_THROW(multiply({1, 32}, at::kFloat), InvariantError);
  EXPECT_THROW(multiply({1, 64}, at::kHalf), InvariantError);
  EXPECT_THROW(ggml_expand(blocks, static_cast<BlockFormat>(12)), InvariantError);
}

TEST_F(GgmlLinearRows, ThrowsRatherThanCutTheGraph) {
  RandomTensors random(37);
  const at::Tensor blocks = RandomBlocks(random, 4, 64, BlockFormat::kQ8_0);
  EXPECT_THROW(ggml_linear_rows(random.Normal({2, 64}, at::kFloat).requires_grad_(true), blocks, BlockFormat::kQ8_0), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
