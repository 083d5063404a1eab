// Work on independent pieces with all threads of the process's setting.
#pragma once

#include <cstdint>
#include <functional>

namespace fathom {

// Calls work(i) once for each i in [0, count), from up to at::get_num_threads() threads, each taking the next i when it is done with one. When a call
// throws, no new piece is begun and the first exception is thrown again here.
void ForEachPiece(int64_t count, const std::function<void(int64_t)>& work);

}  // namespace fathom
