// Many requests at once: each step is planned by the scheduler, run by the step runner as one forward, and turned into tokens and text. Requests
// may be submitted and cancelled from any thread; one thread steps (EngineThread, or the caller of GenerateOn).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "engine/answer.h"
#include "engine/generate.h"
#include "engine/scheduler.h"
#include "engine/step_runner.h"

namespace fathom {

struct EngineOptions {
  int64_t context_length = 0;      // tokens of a sequence
  int64_t max_running = 256;       // sequences in a step
  int64_t tokens_per_step = 1024;  // of decode and of prompts together
  int64_t max_waiting = INT64_MAX;  // requests that were not begun yet
  bool reuse_prefixes = true;
  int64_t num_drafts = 0;          // guesses a step by prompt lookup, 0: none; not asked for where the runner has guesses of its own
  int64_t most_draft_rows = 16;    // rows of a step up to which guesses are made: beyond, a row costs more than it may win
};

using RequestId = uint64_t;

struct EngineStats {
  SchedulerStats scheduler;
  int64_t num_waiting = 0;  // requests that were not begun
  int64_t num_active = 0;   // requests that were submitted and have not ended
  int64_t num_steps = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0;  // of all requests so far
  int64_t drafted_tokens = 0, accepted_tokens = 0;
};

class Engine {
 public:
  // The tokenizer may be null: requests then have tokens alone.
  Engine(std::unique_ptr<StepRunner> runner, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options);
  ~Engine();

  // Called on the stepping thread; they may call Submit and Cancel.
  struct Callbacks {
    std::function<bool(const Delta&)> on_delta;  // false cancels the request
    // The request has ended and holds nothing any more; `error` is what it failed with, null when it did not.
    std::function<void(const Timings&, std::exception_ptr error)> on_end;
  };
  // Queues a request; nullopt when max_waiting requests wait already. Throws the UserErrors of CheckRequest, and one for a request that the cache
  // could not hold alone.
  std::optional<RequestId> Submit(GenerationRequest request, Callbacks callbacks);
  // Ends a request before the next step with kCancelled for what is not done. Nothing happens where it has ended.
  void Cancel(RequestId request);

  // Has `work` done on the stepping thread between two steps, a piece before each, in the order of the calls. False when max_waiting pieces wait
  // already. `work` must not throw.
  bool RunBetweenSteps(std::function<void(StepRunner&)> work);

  // Schedules, runs and postprocesses one step. False: there was nothing to do.
  bool Step();
  // Waits until there is something to do, at most `limit`.
  void WaitForWork(std::chrono::milliseconds limit);

  EngineStats stats() const;
  const EngineOptions& options() const { return options_; }
  int64_t vocab_size() const { return runner_->vocab_size(); }
  // Tokens that a prompt and its answer may have together.
  int64_t most_tokens() const;
  StepRunner& runner() { return *runner_; }

 private:
  struct Request;
  struct Output;
  struct Chosen;
  using Requests = std::map<RequestId, std::unique_ptr<Request>>;

  void TakeInbox();
  bool DoWork();
  void Begin(Request& request);
  Output Run(const std::vector<PlannedItem>& plan);
  void Postprocess(const std::vector<PlannedItem>& plan, const Output& output);
  std::vector<Chosen> Choose(const std::vector<PlannedItem>& plan, const Output& output);
  void Take(Request& request, const PlannedItem& item, size_t sample, const Output& output, const Chosen& chosen, int64_t first_row);
  void Branch(Request& request, const Output& output, int64_t row, std::span<const uint32_t> mask);
  void ScorePrompt(Request& request, const PlannedItem& item, const Output& output, int64_t first_row);
  void Emit(Request& request, const Delta& delta);
  void CloseSample(Request& request, size_t sample);
  void EndRequest(Request& request, std::exception_ptr error);
  void GuessByLookUp();
  void SetDrafts(SequenceId sequence, Answer& answer, std::vector<int32_t> drafts);
  void GuessByModel(const std::vector<PlannedItem>& plan);
  void Publish();
  void MakeMasks(const std::vector<PlannedItem>& plan, Output& output);
  int64_t NumLogits(const Request& request, const PlannedItem& item) const;
  bool CanBeChosen(const Request& request) const;

  std::unique_ptr<StepRunner> runner_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  EngineOptions options_;
  Scheduler scheduler_;
  Requests requests_;                           // that the stepping thread has taken
  std::map<SequenceId, std::pair<Request*, size_t>> owners_;  // of sequences: request and sample
  EngineStats counts_;

  mutable std::mutex mutex_;  // of what is below
  std::condition_variable arrived_;
  std::vector<std::unique_ptr<Request>> submitted_;
  std::vector<RequestId> cancelled_;
  std::deque<std::function<void(StepRunner&)>> work_;
  RequestId next_id_ = 1;
  int64_t num_waiting_ = 0, num_active_ = 0;
  EngineStats published_;
};

}  // namespace fathom
