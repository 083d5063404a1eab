#include "engine/page_allocator.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace fathom {
namespace {

TEST(PageAllocator, GivesEveryPageOnceUntilNoneIsLeft) {
  PageAllocator allocator(3);
  EXPECT_EQ(allocator.Allocate(), 0);
  EXPECT_EQ(allocator.Allocate(), 1);
  EXPECT_EQ(allocator.Allocate(), 2);
  EXPECT_THROW(allocator.Allocate(), MachineError);
}

TEST(PageAllocator, ASharedPageIsFreeAfterItsLastUser) {
  PageAllocator allocator(1);
  const int32_t page = allocator.Allocate();
  allocator.Share(page);
  allocator.Release(page);
  EXPECT_EQ(allocator.num_users(page), 1);
  EXPECT_EQ(allocator.num_free(), 0);
  allocator.Release(page);
  EXPECT_EQ(allocator.num_free(), 1);
  EXPECT_THROW(allocator.Release(page), InvariantError);
  EXPECT_THROW(allocator.Share(page), InvariantError);
}

}  // namespace
}  // namespace fathom
