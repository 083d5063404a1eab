// R: rows of logits of a step, item by item; V: vocabulary.
#include "engine/engine.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <span>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "engine/parallel.h"
#include "engine/prompt_lookup.h"

namespace fathom {
namespace {

constexpr int64_t kPromptRows = 128;  // of logits of a prompt at a time: 66 MB of float32 at V3's vocabulary

}  // namespace

struct Engine::Request {
  RequestId id = 0;
  std::shared_ptr<const GenerationRequest> what;
  Callbacks callbacks;
  std::vector<Answer> answers;
  std::vector<SequenceId> sequences;  // of each sample; 0: none (yet, or any more)
  Timings timings;
  double submitted = 0, begun = 0, first_token = 0;
  int64_t num_prompt_scored = 1;  // tokens of the prompt whose log-probability was given; the first has none
  bool is_begun = false, is_cancelled = false;
};

// What a step gave: logits, or where nobody needs those the tokens that the runner has chosen.
struct Engine::Output {
  at::Tensor logits_RV;
  std::vector<int32_t> tokens_R;
  std::vector<int64_t> num_rows;  // of each item
  std::vector<std::vector<uint32_t>> masks;  // of each complete item whose answer keeps a grammar: a set of allowed tokens for each draft and one more
  std::vector<std::exception_ptr> mask_errors;  // of each item
  int64_t num_mask_words = 0;
  bool is_chosen = false;
  std::span<const float> Row(int64_t row) const {
    return {logits_RV.const_data_ptr<float>() + row * logits_RV.size(1), static_cast<size_t>(logits_RV.size(1))};
  }
  // The set for what comes after `draft` drafts of item `item`; empty: all.
  std::span<const uint32_t> Mask(size_t item, size_t draft) const {
    if (masks[item].empty()) return {};
    return std::span(masks[item]).subspan(draft * static_cast<size_t>(num_mask_words), static_cast<size_t>(num_mask_words));
  }
  Delta Step(Answer& answer, int64_t row, std::span<const uint32_t> mask) const {
    return is_chosen ? answer.Take(tokens_R[static_cast<size_t>(row)]) : answer.Step(Row(row), mask);
  }
};

// The tokens after one item.
struct Engine::Chosen {
  std::vector<Delta> deltas;
  std::exception_ptr error;
  int64_t first_row = 0;  // of its logits
  std::span<const uint32_t> mask;  // of the first one
};

Engine::Engine(std::unique_ptr<StepRunner> runner, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options)
    : runner_(std::move(runner)), tokenizer_(std::move(tokenizer)), options_(options),
      scheduler_({.num_blocks = runner_->num_pages(), .max_running = options.max_running, .tokens_per_step = options.tokens_per_step,
                  .reuse_prefixes = options.reuse_prefixes}) {
  Publish();
}

Engine::~Engine() = default;

int64_t Engine::most_tokens() const { return std::min(options_.context_length, scheduler_.most_tokens()); }

std::optional<RequestId> Engine::Submit(GenerationRequest request, Callbacks callbacks) {
  CheckRequest(request, runner_->vocab_size(), options_.context_length);
  const int64_t num_prompt = std::ssize(request.prompt);
  const int64_t most_new = std::min(request.max_new_tokens, options_.context_length - num_prompt);
  // The last token chosen is never run.
  FATHOM_USER_CHECK(num_prompt + std::max<int64_t>(most_new - 1, 0) <= scheduler_.most_tokens(),
                    "a prompt of {} tokens with at most {} new ones does not fit into the cache of {} tokens", num_prompt, most_new,
                    scheduler_.most_tokens());
  auto added = std::make_unique<Request>();
  added->what = std::make_shared<const GenerationRequest>(std::move(request));
  added->callbacks = std::move(callbacks);
  added->submitted = MonotonicSeconds();
  added->timings.prompt_tokens = num_prompt;
  for (int64_t i = 0; i < added->what->num_samples; ++i) added->answers.emplace_back(added->what, tokenizer_, i, most_new);
  added->sequences.assign(added->answers.size(), 0);
  const std::lock_guard lock(mutex_);
  if (num_waiting_ >= options_.max_waiting) return std::nullopt;
  ++num_waiting_;
  ++num_active_;
  const RequestId id = added->id = next_id_++;
  submitted_.push_back(std::move(added));
  arrived_.notify_one();
  return id;
}

void Engine::Cancel(RequestId request) {
  const std::lock_guard lock(mutex_);
  cancelled_.push_back(request);
  arrived_.notify_one();
}

void Engine::WaitForWork(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, limit, [&] { return !submitted_.empty() || !cancelled_.empty() || !work_.empty(); });
}

bool Engine::RunBetweenSteps(std::function<void(StepRunner&)> work) {
  const std::lock_guard lock(mutex_);
  if (std::ssize(work_) >= options_.max_waiting) return false;
  work_.push_back(std::move(work));
  arrived_.notify_one();
  return true;
}

bool Engine::DoWork() {
  std::function<void(StepRunner&)> work;
  {
    const std::lock_guard lock(mutex_);
    if (work_.empty()) return false;
    work = std::move(work_.front());
    work_.pop_front();
  }
  work(*runner_);
  return true;
}

bool Engine::Step() {
  TakeInbox();
  const bool has_worked = DoWork();
  GuessByLookUp();
  const std::vector<PlannedItem> plan = scheduler_.Schedule();
  if (!plan.empty()) {
    Postprocess(plan, Run(plan));
    GuessByModel(plan);
    ++counts_.num_steps;
  }
  Publish();
  return has_worked || !plan.empty();
}

void Engine::TakeInbox() {
  std::vector<std::unique_ptr<Request>> submitted;
  std::vector<RequestId> cancelled;
  {
    const std::lock_guard lock(mutex_);
    submitted.swap(submitted_);
    cancelled.swap(cancelled_);
  }
  for (auto& request : submitted) {
    Request& added = *request;
    requests_.emplace(added.id, std::move(request));
    try {
      Begin(added);
    } catch (...) {
      EndRequest(added, std::current_exception());
    }
  }
  for (const RequestId id : cancelled) {
    const auto found = requests_.find(id);
    if (found != requests_.end()) found->second->is_cancelled = true;
  }
  for (auto it = requests_.begin(); it != requests_.end();) {
    Request& request = *(it++)->second;  // EndRequest erases it
    const auto& asked = request.what->cancelled;
    if (request.is_cancelled || (asked && asked())) EndRequest(request, nullptr);
  }
}

// Gives the request its first sequence, which computes the prompt for all of its samples.
void Engine::Begin(Request& request) {
  const GenerationRequest& what = *request.what;
  const bool scores_prompt = what.num_prompt_logprobs >= 0;
  if (request.answers[0].num_left() == 0 && !scores_prompt) {  // nothing is to be chosen
    for (Answer& answer : request.answers) Emit(request, answer.End(FinishReason::kLength));
    EndRequest(request, nullptr);
    return;
  }
  request.sequences[0] = scheduler_.Add({.tokens = what.prompt,
                                         .cost = request.timings.prompt_tokens + request.answers[0].num_left() * what.num_samples,
                                         .user = what.user,
                                         .priority = what.priority,
                                         .most_per_step = scores_prompt ? kPromptRows : INT64_MAX,
                                         .reuse_prefix = !scores_prompt});
  owners_[request.sequences[0]] = {&request, 0};
}

int64_t Engine::NumLogits(const Request& request, const PlannedItem& item) const {
  const bool scores_prompt = request.what->num_prompt_logprobs >= 0 && request.num_prompt_scored < request.timings.prompt_tokens;
  if (scores_prompt) return item.num_known + item.num_drafts;
  return item.is_complete ? 1 + item.num_drafts : 0;
}

// Whether the runner can choose its tokens: no logits are asked for, and a row of them is for one token alone (the samples of a request draw their
// first tokens from one row).
bool Engine::CanBeChosen(const Request& request) const {
  const GenerationRequest& what = *request.what;
  return !WantsLogprobs(what) && (what.num_samples == 1 || request.first_token > 0 || IsGreedy(what.sampling));
}

Engine::Output Engine::Run(const std::vector<PlannedItem>& plan) {
  std::vector<StepRunner::Item> items;
  std::vector<std::vector<int32_t>> with_drafts;
  with_drafts.reserve(plan.size());
  Output output{.num_mask_words = NumMaskWords(runner_->vocab_size()), .is_chosen = runner_->picks_tokens()};
  output.mask_errors.resize(plan.size());
  output.masks.reserve(plan.size());
  std::vector<ops::SampleRow> rows;
  std::deque<std::vector<ops::SeenToken>> lists;  // what rows point at
  const double now = MonotonicSeconds();
  int64_t num_begun = 0;
  for (const PlannedItem& item : plan) {
    Request& request = *owners_.at(item.sequence).first;
    if (!request.is_begun) {
      request.is_begun = true;
      request.begun = now;
      request.timings.queue_s = now - request.submitted;
      request.timings.prefilled_tokens = request.timings.prompt_tokens - item.first;
      ++num_begun;
    }
    output.is_chosen = output.is_chosen && CanBeChosen(request);
    output.masks.emplace_back();
    const std::vector<int32_t>& known = scheduler_.Tokens(item.sequence);
    std::span<const int32_t> tokens = std::span(known).subspan(static_cast<size_t>(item.first), static_cast<size_t>(item.num_known));
    if (item.num_drafts > 0) {
      const std::vector<int32_t>& drafts = scheduler_.Drafts(item.sequence);
      std::vector<int32_t>& joined = with_drafts.emplace_back(tokens.begin(), tokens.end());
      joined.insert(joined.end(), drafts.begin(), drafts.begin() + item.num_drafts);
      tokens = joined;
    }
    const int64_t end = item.first + std::ssize(tokens);
    const std::span<const int32_t> pages = std::span(scheduler_.Blocks(item.sequence)).first(static_cast<size_t>((end + kBlockTokens - 1) / kBlockTokens));
    items.push_back({.tokens = tokens, .first_position = item.first, .pages = pages, .num_logits = NumLogits(request, item)});
    output.num_rows.push_back(items.back().num_logits);
    const Answer& answer = request.answers[owners_.at(item.sequence).second];
    // Room for the sets now, so that rows can point at them; they are filled beside the forward.
    if (answer.has_grammar() && item.is_complete) output.masks.back().resize(static_cast<size_t>(output.num_mask_words * (item.num_drafts + 1)));
    if (!output.is_chosen || items.back().num_logits == 0) continue;
    const std::span<const int32_t> drafts = tokens.last(static_cast<size_t>(item.num_drafts));
    for (size_t d = 0; d <= drafts.size(); ++d) {
      rows.push_back(answer.sampler().Row(drafts.first(d), lists));
      rows.back().allowed = output.Mask(output.masks.size() - 1, d);
    }
  }
  if (num_begun > 0) {
    const std::lock_guard lock(mutex_);
    num_waiting_ -= num_begun;
  }
  try {
    if (output.is_chosen) {
      output.tokens_R = runner_->RunAndChoose(items, rows, [&] { MakeMasks(plan, output); });
    } else {
      MakeMasks(plan, output);
      output.logits_RV = runner_->Run(items);
    }
  } catch (...) {
    // What was in the step fails with it; the others go on.
    const std::exception_ptr error = std::current_exception();
    for (const PlannedItem& item : plan) {
      const auto owner = owners_.find(item.sequence);
      if (owner != owners_.end()) EndRequest(*owner->second.first, error);
    }
  }
  return output;
}

// What the answers with a grammar may go on with. They share nothing, so that every thread takes some.
void Engine::MakeMasks(const std::vector<PlannedItem>& plan, Output& output) {
  std::vector<std::function<void()>> work;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (output.masks[i].empty()) continue;
    const auto [request, sample] = owners_.at(plan[i].sequence);
    work.emplace_back([&, i, &answer = request->answers[sample]] {
      try {
        const auto drafts = std::span(scheduler_.Drafts(plan[i].sequence)).first(static_cast<size_t>(plan[i].num_drafts));
        const std::vector<uint32_t> masks = answer.Masks(drafts);
        std::copy(masks.begin(), masks.end(), output.masks[i].begin());
      } catch (...) {
        output.mask_errors[i] = std::current_exception();
        std::fill(output.masks[i].begin(), output.masks[i].end(), ~uint32_t{0});
      }
    });
  }
  if (!work.empty()) RunInParallel(work);
}

// Chooses the tokens after each complete item's last known one, as many as its drafts were right and one more. The items share nothing, so that
// every thread takes some: drawing from a large vocabulary costs a good part of a step.
std::vector<Engine::Chosen> Engine::Choose(const std::vector<PlannedItem>& plan, const Output& output) {
  std::vector<Chosen> all(plan.size());
  std::vector<std::function<void()>> work;
  int64_t next_row = 0;
  for (size_t i = 0; i < plan.size(); ++i) {
    const PlannedItem& item = plan[i];
    Chosen& chosen = all[i];
    chosen.first_row = next_row;
    next_row += output.num_rows[i];
    const auto owner = owners_.find(item.sequence);
    if (owner == owners_.end() || !item.is_complete) continue;
    Answer& answer = owner->second.first->answers[owner->second.second];
    if (answer.num_left() == 0) continue;  // the prompt alone was asked for
    if (output.mask_errors[i]) {
      chosen.error = output.mask_errors[i];
      continue;
    }
    const int64_t first_row = next_row - 1 - item.num_drafts;
    chosen.mask = output.Mask(i, 0);
    work.emplace_back([&, i, first_row, drafts = std::span(scheduler_.Drafts(item.sequence)).first(static_cast<size_t>(item.num_drafts))] {
      try {
        for (size_t d = 0; d <= drafts.size() && !answer.done(); ++d) {
          chosen.deltas.push_back(output.Step(answer, first_row + static_cast<int64_t>(d), output.Mask(i, d)));
          if (d < drafts.size() && chosen.deltas.back().tokens[0] != drafts[d]) break;
        }
      } catch (...) {
        chosen.error = std::current_exception();
      }
    });
  }
  RunInParallel(work);
  return all;
}

void Engine::Postprocess(const std::vector<PlannedItem>& plan, const Output& output) {
  const std::vector<Chosen> all = Choose(plan, output);
  for (size_t i = 0; i < plan.size(); ++i) {
    const PlannedItem& item = plan[i];
    const auto owner = owners_.find(item.sequence);
    if (owner == owners_.end()) continue;  // its request has failed
    const auto [request, sample] = owner->second;
    try {
      if (output.num_rows[i] > 0 && request->num_prompt_scored < request->timings.prompt_tokens) ScorePrompt(*request, item, output, all[i].first_row);
      if (all[i].error) std::rethrow_exception(all[i].error);
      if (item.is_complete) Take(*request, item, sample, output, all[i], all[i].first_row + output.num_rows[i] - 1 - item.num_drafts);
      else scheduler_.Commit(item, {});
      // An answer may be done already whose last token is told further on in this step: what counts is that its sequence was closed.
      const bool all_done = std::all_of(request->sequences.begin(), request->sequences.end(), [](SequenceId sequence) { return sequence == 0; });
      if (request->is_cancelled || all_done) EndRequest(*request, nullptr);
    } catch (...) {
      EndRequest(*request, std::current_exception());
    }
  }
}

void Engine::Take(Request& request, const PlannedItem& item, size_t sample, const Output& output, const Chosen& chosen, int64_t first_row) {
  const bool is_first = request.first_token == 0;
  if (is_first) {
    request.first_token = MonotonicSeconds();
    counts_.prompt_tokens += request.timings.prompt_tokens;
  }
  std::vector<int32_t> tokens;
  for (const Delta& delta : chosen.deltas) {
    tokens.push_back(delta.tokens[0]);
    Emit(request, delta);
  }
  if (tokens.empty()) {  // the prompt alone was asked for
    for (Answer& each : request.answers) Emit(request, each.End(FinishReason::kLength));
    scheduler_.Commit(item, std::vector<int32_t>{0});
    CloseSample(request, sample);
    return;
  }
  counts_.generated_tokens += std::ssize(tokens);
  counts_.drafted_tokens += item.num_drafts;
  counts_.accepted_tokens += std::ssize(tokens) - 1;
  scheduler_.Commit(item, tokens);
  if (is_first) Branch(request, output, first_row, chosen.mask);
  if (request.answers[sample].done()) CloseSample(request, sample);
}

// The other samples choose their first tokens from the same logits and go on in sequences of their own, which find the prompt in the cache.
void Engine::Branch(Request& request, const Output& output, int64_t row, std::span<const uint32_t> mask) {
  for (size_t i = 1; i < request.answers.size(); ++i) {
    const Delta delta = output.Step(request.answers[i], row, mask);
    Emit(request, delta);
    ++counts_.generated_tokens;
    if (request.answers[i].done()) continue;
    NewSequence added{.tokens = request.what->prompt, .tag = scheduler_.Tag(request.sequences[0])};
    added.tokens.push_back(delta.tokens[0]);
    request.sequences[i] = scheduler_.Add(std::move(added));
    owners_[request.sequences[i]] = {&request, i};
  }
}

void Engine::ScorePrompt(Request& request, const PlannedItem& item, const Output& output, int64_t first_row) {
  if (request.what->num_prompt_logprobs < 0) return;
  const std::vector<int32_t>& prompt = request.what->prompt;
  Delta delta{.index = 0};
  for (int64_t i = 0; i < item.num_known; ++i) {
    const int64_t scored = item.first + i + 1;
    if (scored < request.num_prompt_scored || scored >= std::ssize(prompt)) continue;  // recomputed, or not of the prompt
    delta.prompt_logprobs.push_back(LogprobsOf(output.Row(first_row + i), prompt[static_cast<size_t>(scored)], request.what->num_prompt_logprobs));
    request.num_prompt_scored = scored + 1;
  }
  if (!delta.prompt_logprobs.empty()) Emit(request, delta);
}

void Engine::Emit(Request& request, const Delta& delta) {
  if (!request.callbacks.on_delta(delta)) request.is_cancelled = true;
}

void Engine::CloseSample(Request& request, size_t sample) {
  const SequenceId sequence = std::exchange(request.sequences[sample], 0);
  if (sequence == 0) return;
  owners_.erase(sequence);
  scheduler_.Remove(sequence);
}

void Engine::EndRequest(Request& request, std::exception_ptr error) {
  for (size_t i = 0; i < request.sequences.size(); ++i) CloseSample(request, i);
  const double now = MonotonicSeconds();
  Timings& timings = request.timings;
  for (Answer& answer : request.answers) {
    if (!answer.done() && !error) {
      try {
        Emit(request, answer.End(FinishReason::kCancelled));
      } catch (...) {
        error = std::current_exception();
      }
    }
    timings.completion_tokens += answer.num_tokens();
    timings.decoded_tokens += std::max<int64_t>(answer.num_tokens() - 1, 0);
  }
  if (request.first_token > 0) {
    timings.prefill_s = request.first_token - request.begun;
    timings.decode_s = now - request.first_token;
  } else if (request.is_begun) {
    timings.prefill_s = now - request.begun;
  }
  {
    const std::lock_guard lock(mutex_);
    --num_active_;
    if (!request.is_begun) --num_waiting_;
  }
  Publish();  // who hears of the end finds it counted
  const std::unique_ptr<Request> ended = std::move(requests_.extract(request.id).mapped());
  if (ended->callbacks.on_end) ended->callbacks.on_end(timings, error);
}

void Engine::GuessByLookUp() {
  if (options_.num_drafts == 0 || runner_->has_drafts() || std::ssize(owners_) * 2 > options_.most_draft_rows) return;
  const int64_t share = options_.most_draft_rows / std::max<int64_t>(std::ssize(owners_), 1) - 1;  // rows beside its own that each may have
  for (const auto& [sequence, owner] : owners_) {
    Answer& answer = owner.first->answers[owner.second];
    if (answer.num_tokens() == 0) continue;  // in its prompt
    const int64_t most = std::min({options_.num_drafts, share, answer.num_left() - 1});
    if (most > 0) SetDrafts(sequence, answer, LookUpDrafts(scheduler_.Tokens(sequence), most));
  }
}

// Guesses that break the answer's grammar are not worth a row. What its grammar fails with is told when it comes to choose.
void Engine::SetDrafts(SequenceId sequence, Answer& answer, std::vector<int32_t> drafts) {
  try {
    answer.CutGuesses(drafts);
  } catch (const UserError&) {
    drafts.clear();
  }
  scheduler_.SetDrafts(sequence, std::move(drafts));
}

// The model's own guess of the token after next, from the rows of the step that has just been run.
void Engine::GuessByModel(const std::vector<PlannedItem>& plan) {
  if (!runner_->has_drafts() || std::ssize(owners_) * 2 > options_.most_draft_rows) return;
  std::vector<StepRunner::DraftItem> items;
  std::vector<SequenceId> sequences;
  for (size_t i = 0; i < plan.size(); ++i) {
    const PlannedItem& item = plan[i];
    if (!owners_.contains(item.sequence)) continue;
    const std::vector<int32_t>& tokens = scheduler_.Tokens(item.sequence);
    // Of a complete item the rows that count are those up to its last right guess.
    const int64_t num_rows = item.is_complete ? std::ssize(tokens) - 1 - item.first : item.num_known;
    items.push_back({.item = static_cast<int64_t>(i),
                     .next_tokens = std::span(tokens).subspan(static_cast<size_t>(item.first + 1), static_cast<size_t>(num_rows)),
                     .first_position = item.first,
                     .pages = scheduler_.Blocks(item.sequence)});
    sequences.push_back(item.is_complete ? item.sequence : 0);
  }
  const std::vector<int32_t> drafts = runner_->Draft(items);
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i] == 0 || drafts[i] < 0) continue;
    const auto& [request, sample] = owners_.at(sequences[i]);
    if (request->answers[sample].num_left() >= 2) SetDrafts(sequences[i], request->answers[sample], {drafts[i]});
  }
}

void Engine::Publish() {
  const std::lock_guard lock(mutex_);
  published_ = counts_;
  published_.scheduler = scheduler_.stats();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = published_;
  stats.num_waiting = num_waiting_;
  stats.num_active = num_active_;
  return stats;
}

}  // namespace fathom
