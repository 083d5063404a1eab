#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "ops/attention/attention.h"
#include "ops/cpu/parallel_probe.h"
#include "ops/linear/linear_rows.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

class Threads : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!TestDevice().is_cpu()) GTEST_SKIP() << "threads are the CPU's";
    before_ = at::get_num_threads();
    at::set_num_threads(2);
  }
  void TearDown() override {
    if (before_ > 0) at::set_num_threads(before_);
  }
  int before_ = 0;
};

TEST_F(Threads, MoreThanOneRunsInTheOperatorsFiles) { EXPECT_EQ(CountParallelThreads(), 2); }

TEST_F(Threads, DoNotChangeABitOfAProduct) {
  RandomTensors random(81);
  const at::Tensor x = random.Normal({3, 577}, at::kBFloat16), w = random.Normal({1031, 577}, at::kBFloat16);
  const at::Tensor two = linear_rows(x, w, std::nullopt);
  at::set_num_threads(1);
  EXPECT_TRUE(IsSame(linear_rows(x, w, std::nullopt), two));
}

TEST_F(Threads, DoNotChangeABitOfAttention) {
  RandomTensors random(82);
  const at::Tensor q = random.Normal({300, 4, 32}, at::kBFloat16), k = random.Normal({300, 2, 32}, at::kBFloat16), cu = IntTensor({0, 300});
  const at::Tensor two = packed_attention(q, k, k, cu, cu, 0.2, -1, std::nullopt);
  at::set_num_threads(1);
  EXPECT_TRUE(IsSame(packed_attention(q, k, k, cu, cu, 0.2, -1, std::nullopt), two));
}

}  // namespace
}  // namespace fathom::ops
