#include "engine/engine_thread.h"

#include <ATen/Parallel.h>



namespace fathom {
namespace {

constexpr std::chrono::milliseconds kLongestSleep{200};  // until it looks whether it should end

}  // namespace

EngineThread::EngineThread(Engine& engine, int compute_threads)
    : engine_(engine), thread_([this, compute_threads] {
        if (compute_threads > 0) at::set_num_threads(compute_threads);
        while (!stops_) {
          if (!engine_.Step()) engine_.WaitForWork(kLongestSleep);
        }
      }) {}

EngineThread::~EngineThread() {
  stops_ = true;
  thread_.join();
}

}  // namespace fathom
