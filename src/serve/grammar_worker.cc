#include "serve/grammar_worker.h"

#include <optional>
#include <utility>

namespace fathom {

GrammarWorker::GrammarWorker(const ServedModel& model) : model_(model), thread_([this] { Run(); }) {}

GrammarWorker::~GrammarWorker() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
    arrived_.notify_one();
  }
  thread_.join();
}

bool GrammarWorker::Compile(std::vector<std::string> parts, Done done) {
  const std::lock_guard lock(mutex_);
  if (waiting_.size() >= kMostWaiting) return false;
  waiting_.emplace_back(std::move(parts), std::move(done));
  arrived_.notify_one();
  return true;
}

void GrammarWorker::Run() {
  std::optional<GrammarCompiler> compiler;  // made when the first one asks: it reads the whole vocabulary
  while (true) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return is_over_ || !waiting_.empty(); });
    if (is_over_) return;
    const auto [parts, done] = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    std::shared_ptr<const Grammar> grammar;
    std::exception_ptr error;
    try {
      if (!compiler) compiler.emplace(*model_.tokenizer, model_.engine->vocab_size(), model_.eos_tokens, kLimits);
      grammar = compiler->Compile(parts);
    } catch (...) {
      error = std::current_exception();
    }
    done(std::move(grammar), error);
  }
}

}  // namespace fathom
