// Pages of the cache and who uses them: a page may be shared by sequences that begin alike.
#pragma once

#include <cstdint>
#include <vector>

namespace fathom {

class PageAllocator {
 public:
  explicit PageAllocator(int64_t num_pages);
  // A page with one user. Throws MachineError when none is free.
  int32_t Allocate();
  // One more user.
  void Share(int32_t page);
  // One user less; free again after the last.
  void Release(int32_t page);
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_users(int32_t page) const { return num_users_[page]; }

 private:
  std::vector<int32_t> free_;       // the next one to give is last
  std::vector<int32_t> num_users_;  // of each page
};

}  // namespace fathom
