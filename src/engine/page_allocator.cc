#include "engine/page_allocator.h"

#include "base/error.h"

namespace fathom {

PageAllocator::PageAllocator(int64_t num_pages) : num_users_(num_pages, 0) {
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

int32_t PageAllocator::Allocate() {
  if (free_.empty()) ThrowMachineError("the cache is full: all of its {} pages are in use", num_users_.size());
  const int32_t page = free_.back();
  free_.pop_back();
  num_users_[page] = 1;
  return page;
}

void PageAllocator::Share(int32_t page) {
  FATHOM_CHECK(num_users_[page] > 0, "page {} is free", page);
  ++num_users_[page];
}

void PageAllocator::Release(int32_t page) {
  FATHOM_CHECK(num_users_[page] > 0, "page {} is free", page);
  if (--num_users_[page] == 0) free_.push_back(page);
}

}  // namespace fathom
