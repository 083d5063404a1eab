#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace fathom {
namespace {

std::vector<int32_t> Tokens(int32_t first, int64_t count = kBlockTokens) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(BlockPool, GivesEveryBlockOnceUntilNoneIsLeft) {
  BlockPool pool(3);
  EXPECT_EQ(pool.Allocate(), 0);
  EXPECT_EQ(pool.Allocate(), 1);
  EXPECT_EQ(pool.Allocate(), 2);
  EXPECT_EQ(pool.num_available(), 0);
  EXPECT_THROW(pool.Allocate(), InvariantError);
}

TEST(BlockPool, ASharedBlockIsFreeAfterItsLastUser) {
  BlockPool pool(1);
  const int32_t block = pool.Allocate();
  pool.AddUser(block);
  pool.RemoveUser(block);
  EXPECT_EQ(pool.num_available(), 0);
  pool.RemoveUser(block);
  EXPECT_EQ(pool.num_available(), 1);
  EXPECT_THROW(pool.RemoveUser(block), InvariantError);
  EXPECT_THROW(pool.AddUser(block), InvariantError);
}

TEST(BlockPool, FindsABlockByItsTokensAndByWhatIsBeforeThem) {
  BlockPool pool(4);
  const int32_t a = pool.Allocate(), b = pool.Allocate();
  const ContentId first = pool.Register(a, 0, Tokens(0));
  pool.Register(b, first, Tokens(7));
  EXPECT_EQ(pool.FindWhole(0, Tokens(0))->block, a);
  EXPECT_EQ(pool.FindWhole(first, Tokens(7))->block, b);
  EXPECT_FALSE(pool.FindWhole(0, Tokens(7))) << "the same tokens elsewhere are other keys and values";
  EXPECT_FALSE(pool.FindWhole(first, Tokens(0)));
}

TEST(BlockPool, OfTwoBlocksWithOneContentTheFirstIsFound) {
  BlockPool pool(2);
  const int32_t a = pool.Allocate(), b = pool.Allocate();
  const ContentId content = pool.Register(a, 0, Tokens(0));
  EXPECT_EQ(pool.Register(b, 0, Tokens(0)), content);
  EXPECT_EQ(pool.FindWhole(0, Tokens(0))->block, a);
  pool.RemoveUser(b);
  EXPECT_EQ(pool.Allocate(), b) << "it holds nothing that could be found";
}

TEST(BlockPool, ForgetsTheLeastRecentlyUsedContentFirstWhenRoomIsNeeded) {
  BlockPool pool(2);
  const int32_t a = pool.Allocate(), b = pool.Allocate();
  pool.Register(a, 0, Tokens(1));
  pool.Register(b, 0, Tokens(2));
  pool.RemoveUser(a);
  pool.RemoveUser(b);
  pool.AddUser(a);
  pool.RemoveUser(a);
  EXPECT_EQ(pool.Allocate(), b);
  EXPECT_FALSE(pool.FindWhole(0, Tokens(2)));
  EXPECT_TRUE(pool.FindWhole(0, Tokens(1)));
}

TEST(BlockPool, ATailIsFoundByItsBeginningWhileNobodyUsesIt) {
  BlockPool pool(2);
  const int32_t a = pool.Allocate();
  pool.RegisterTail(a, 0, Tokens(5, 10));
  EXPECT_FALSE(pool.FindTail(0, Tokens(5, 20))) << "its user still writes into it";
  pool.RemoveUser(a);
  EXPECT_EQ(pool.FindTail(0, Tokens(5, 20))->num_tokens, 10);
  EXPECT_EQ(pool.FindTail(0, Tokens(5, 3))->num_tokens, 3);
  EXPECT_FALSE(pool.FindTail(0, Tokens(6, 3)));
  pool.TakeTail(a);
  EXPECT_FALSE(pool.FindTail(0, Tokens(5, 3)));
  pool.RemoveUser(a);
  EXPECT_EQ(pool.num_available(), 2);
}

}  // namespace
}  // namespace fathom
