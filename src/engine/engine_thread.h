// The thread that steps an engine while it lives.
#pragma once

#include <atomic>
#include <thread>

#include "engine/engine.h"

namespace fathom {

class EngineThread {
 public:
  // `compute_threads` for each step's products; 0: as many as LibTorch takes.
  EngineThread(Engine& engine, int compute_threads);
  // Ends after the running step; requests that have not ended stay as they are.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

 private:
  Engine& engine_;
  std::atomic<bool> stops_ = false;
  std::thread thread_;
};

}  // namespace fathom
