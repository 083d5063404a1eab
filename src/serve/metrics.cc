#include "serve/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace fathom {
namespace {

std::vector<double> Seconds() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640};
}
std::vector<double> TokenSeconds() { return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10}; }
std::vector<double> Counts() { return {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000}; }

std::string EscapeLabel(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    text += c == '\n' ? ' ' : c;
  }
  return text;
}

}  // namespace

Histogram::Histogram(std::vector<double> limits) : limits_(std::move(limits)), counts_(limits_.size() + 1, 0) {}

void Histogram::Observe(double value, int64_t times) {
  const auto bucket = std::lower_bound(limits_.begin(), limits_.end(), value) - limits_.begin();
  const std::lock_guard lock(mutex_);
  counts_[static_cast<size_t>(bucket)] += times;
  sum_ += value * static_cast<double>(times);
}

void Histogram::Print(std::string_view name, std::string_view labels, std::string& text) const {
  const std::lock_guard lock(mutex_);
  int64_t count = 0;
  for (size_t i = 0; i <= limits_.size(); ++i) {
    count += counts_[i];
    const std::string limit = i < limits_.size() ? fmt::format("{}", limits_[i]) : "+Inf";
    text += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, limit, count);
  }
  text += fmt::format("{0}_sum{{{1}}} {2}\n{0}_count{{{1}}} {3}\n", name, labels, sum_, count);
}

Metrics::Metrics()
    : first_token_(Seconds()), token_(TokenSeconds()), request_(Seconds()), queue_(Seconds()), prefill_(Seconds()), decode_(Seconds()),
      prompt_tokens_(Counts()), generation_tokens_(Counts()) {
  for (const char* finish : {"stop", "length", "abort", "error"}) finished_[finish] = 0;
}

void Metrics::ObserveRequest(const RequestMeasure& measure) {
  request_.Observe(measure.seconds);
  queue_.Observe(measure.timings.queue_s);
  prefill_.Observe(measure.timings.prefill_s);
  decode_.Observe(measure.timings.decode_s);
  prompt_tokens_.Observe(static_cast<double>(measure.timings.prompt_tokens));
  generation_tokens_.Observe(static_cast<double>(measure.timings.completion_tokens));
  const std::lock_guard lock(mutex_);
  ++finished_[measure.finish];
}

void Metrics::CountResponse(int status) {
  const std::lock_guard lock(mutex_);
  ++responses_[status];
}

std::string Metrics::Print(const EngineStats& stats, const std::string& model_name, int64_t num_connections) const {
  std::string text;
  const std::string labels = fmt::format("engine=\"0\",model_name=\"{}\"", EscapeLabel(model_name));
  const auto head = [&](std::string_view name, std::string_view type, std::string_view help) {
    text += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  };
  const auto value = [&](std::string_view name, std::string_view type, std::string_view help, auto number) {
    head(name, type, help);
    text += fmt::format("{}{{{}}} {}\n", name, labels, number);
  };
  const SchedulerStats& s = stats.scheduler;
  value("vllm:num_requests_running", "gauge", "Sequences in the running batch.", s.num_running);
  value("vllm:num_requests_waiting", "gauge", "Sequences that wait to run, requests that were not begun included.",
        std::max(s.num_waiting, stats.num_waiting));
  value("vllm:kv_cache_usage_perc", "gauge", "Part of the cache's blocks in use, 1 is all.",
        s.num_blocks > 0 ? static_cast<double>(s.num_used_blocks) / static_cast<double>(s.num_blocks) : 0.0);
  value("vllm:num_preemptions_total", "counter", "Sequences that gave their blocks back.", s.num_preemptions);
  value("vllm:prefix_cache_queries_total", "counter", "Tokens of prompts looked up in the cache.", s.prefix_queried_tokens);
  value("vllm:prefix_cache_hits_total", "counter", "Tokens of prompts found in the cache.", s.prefix_hit_tokens);
  value("vllm:prompt_tokens_total", "counter", "Tokens of prompts processed.", stats.prompt_tokens);
  value("vllm:generation_tokens_total", "counter", "Tokens generated.", stats.generated_tokens);
  value("vllm:spec_decode_num_draft_tokens_total", "counter", "Tokens guessed.", stats.drafted_tokens);
  value("vllm:spec_decode_num_accepted_tokens_total", "counter", "Guessed tokens that were right.", stats.accepted_tokens);
  {
    const std::lock_guard lock(mutex_);
    head("vllm:request_success_total", "counter", "Requests that ended, by reason.");
    for (const auto& [reason, count] : finished_) text += fmt::format("vllm:request_success_total{{{},finished_reason=\"{}\"}} {}\n", labels, reason, count);
    head("fathom:http_responses_total", "counter", "Answers by status.");
    for (const auto& [status, count] : responses_) text += fmt::format("fathom:http_responses_total{{status=\"{}\"}} {}\n", status, count);
  }
  const auto histogram = [&](std::string_view name, std::string_view help, const Histogram& h) {
    head(name, "histogram", help);
    h.Print(name, labels, text);
  };
  histogram("vllm:time_to_first_token_seconds", "From the request to its first token.", first_token_);
  histogram("vllm:time_per_output_token_seconds", "Between two tokens of an answer.", token_);
  histogram("vllm:inter_token_latency_seconds", "Between two tokens of an answer.", token_);
  histogram("vllm:e2e_request_latency_seconds", "From the request to its end.", request_);
  histogram("vllm:request_queue_time_seconds", "Until its first step.", queue_);
  histogram("vllm:request_prefill_time_seconds", "From its first step to its first token.", prefill_);
  histogram("vllm:request_decode_time_seconds", "From its first token to its end.", decode_);
  histogram("vllm:request_prompt_tokens", "Tokens of a request's prompt.", prompt_tokens_);
  histogram("vllm:request_generation_tokens", "Tokens of a request's answers.", generation_tokens_);
  value("fathom:engine_steps_total", "counter", "Forward steps.", stats.num_steps);
  value("fathom:http_connections", "gauge", "Open connections.", num_connections);
  return text;
}

}  // namespace fathom
