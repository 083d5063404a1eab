#include "ops/cache/store_rows.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/random_tensor.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

at::Tensor Slots(const std::vector<int32_t>& slots) { return IntTensor(slots).to(at::kLong); }

TEST(StoreRows, WritesBothPartsIntoTheirSlotsAndNothingElse) {
  RandomTensors random(91);
  for (const auto dtype : FloatDtypes()) {
    const at::Tensor cache = random.Normal({11, 9}, dtype), before = cache.clone();
    const at::Tensor a = random.NormalSlice({3, 5}, dtype, 2), b = random.NormalSlice({3, 4}, dtype, 7);
    store_rows(cache, Slots({7, 0, 10}), a, b);
    before.index_copy_(0, Slots({7, 0, 10}), at::cat({a, b}, 1));
    EXPECT_TRUE(IsSame(cache, before));
  }
}

TEST(StoreRows, AcceptsNoRowsAndRefusesRowsThatDoNotFit) {
  RandomTensors random(92);
  const at::Tensor cache = random.Normal({4, 6}, at::kFloat), before = cache.clone();
  store_rows(cache, Slots({}), random.Normal({0, 2}, at::kFloat), random.Normal({0, 4}, at::kFloat));
  EXPECT_TRUE(IsSame(cache, before));
  EXPECT_THROW(store_rows(cache, Slots({1}), random.Normal({1, 2}, at::kFloat), random.Normal({1, 3}, at::kFloat)), InvariantError);
}

TEST(StoreRows, ThrowsRatherThanCutTheGraph) {
  RandomTensors random(93);
  const at::Tensor cache = random.Normal({4, 6}, at::kFloat), rows = random.Normal({1, 3}, at::kFloat).requires_grad_(true);
  EXPECT_THROW(store_rows(cache, Slots({1}), rows, rows), InvariantError);
}

}  // namespace
}  // namespace fathom::ops
