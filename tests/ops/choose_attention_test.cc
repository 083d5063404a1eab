#include "cuda/attention/choose_kernel.h"

#include <gtest/gtest.h>

namespace fathom::cuda {
namespace {

AttentionShape Prefill() {
  return {.has_wgmma = true, .is_16_bit = true, .is_aligned = true, .tokens = 4096, .batch = 1, .heads = 16, .kv_heads = 16, .dk = 192, .dv = 128};
}
AttentionShape MlaDecode() {
  return {.has_wgmma = true, .is_16_bit = true, .is_aligned = true, .tokens = 8, .batch = 8, .heads = 16, .dk = 576, .dv = 512, .page_size = 64, .max_keys = 4096};
}

TEST(ChooseAttention, TakesWarpgroupProductsForLongSequencesOnHopper) {
  EXPECT_EQ(ChooseAttention(Prefill()), AttentionKernel::kWgmma);
  AttentionShape shape = Prefill();
  shape.has_wgmma = false;
  EXPECT_EQ(ChooseAttention(shape), AttentionKernel::kMma);
  shape = Prefill();
  shape.batch = 100;  // 41 queries each
  EXPECT_EQ(ChooseAttention(shape), AttentionKernel::kMma);
  shape = Prefill();
  shape.page_size = 16;
  EXPECT_EQ(ChooseAttention(shape), AttentionKernel::kMma);
  shape.page_size = 128;
  EXPECT_EQ(ChooseAttention(shape), AttentionKernel::kWgmma);
}

TEST(ChooseAttention, TakesThePlainKernelForEveryOtherShape) {
  for (const auto change : {+[](AttentionShape& s) { s.is_16_bit = false; }, +[](AttentionShape& s) { s.is_aligned = false; },
                            +[](AttentionShape& s) { s.has_topk = true; }, +[](AttentionShape& s) { s.dk = 96; }}) {
    AttentionShape shape = Prefill();
    change(shape);
    EXPECT_EQ(ChooseAttention(shape), AttentionKernel::kPlain);
    shape = MlaDecode();
    change(shape);
    EXPECT_EQ(ChooseMlaAttention(shape), AttentionKernel::kPlain);
  }
}

TEST(ChooseAttention, TakesWarpgroupProductsForMlaInPagesOfSixtyFour) {
  EXPECT_EQ(ChooseMlaAttention(MlaDecode()), AttentionKernel::kWgmma);
  AttentionShape shape = MlaDecode();
  shape.page_size = 16;
  EXPECT_EQ(ChooseMlaAttention(shape), AttentionKernel::kMma);
  shape = MlaDecode();
  shape.batch = shape.tokens = 1;
  EXPECT_EQ(ChooseMlaAttention(shape), AttentionKernel::kWgmma);
  shape.max_keys = 640;
  EXPECT_EQ(ChooseMlaAttention(shape), AttentionKernel::kMma);
  shape.heads = 128;
  EXPECT_EQ(ChooseMlaAttention(shape), AttentionKernel::kWgmma);
}

TEST(MlaWgmmaTiles, CoversEverySplitOfTheQueriesIntoSequences) {
  const auto needed = [](int64_t queries, int64_t heads) { return (queries * heads + 63) / 64; };
  for (const int64_t heads : {1, 16, 20, 64, 100, 128}) {
    for (const int64_t many : {1, 2, 3, 17, 70}) {
      for (const int64_t batch : {1, 2, 9, 129}) {
        const int64_t tokens = many + batch - 1;  // one sequence of `many` queries, the others of one
        EXPECT_GE(MlaWgmmaTiles(tokens, heads, batch), needed(many, heads) + (batch - 1) * needed(1, heads)) << heads << " " << many << " " << batch;
      }
    }
    EXPECT_EQ(MlaWgmmaTiles(128, heads, 128), 128 * needed(1, heads));  // a decode step has no block to spare
    EXPECT_EQ(LikelyMlaWgmmaTiles(256, heads, 128), 128 * needed(2, heads));
  }
}

TEST(HeadsTogether, DividesTheHeadsAndLeavesTheirKeysInTheCache) {
  const int64_t cache = int64_t{50} << 20;
  EXPECT_EQ(HeadsTogether(128, 128, 4096, 640, cache), 8);
  EXPECT_EQ(HeadsTogether(16, 16, 512, 640, cache), 16);
  EXPECT_EQ(HeadsTogether(128, 128, 1 << 20, 640, cache), 1);
  EXPECT_EQ(HeadsTogether(32, 8, 1 << 20, 512, cache), 4);  // no fewer than share a key head
  EXPECT_EQ(HeadsTogether(7, 7, 4096, 640, cache), 7);
}

}  // namespace
}  // namespace fathom::cuda
