// Counters and histograms of the service in Prometheus' text format (version 0.0.4), under the names that vLLM's dashboards read.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace fathom {

class Histogram {
 public:
  explicit Histogram(std::vector<double> limits);
  void Observe(double value, int64_t times = 1);
  // Lines NAME_bucket{labels,le="..."}, NAME_sum, NAME_count.
  void Print(std::string_view name, std::string_view labels, std::string& text) const;

 private:
  std::vector<double> limits_;
  mutable std::mutex mutex_;
  std::vector<int64_t> counts_;  // one more than limits
  double sum_ = 0;
};

// Of finished requests.
struct RequestMeasure {
  Timings timings;
  double seconds = 0;
  const char* finish = "stop";  // stop, length, abort, error
};

class Metrics {
 public:
  Metrics();
  void ObserveFirstToken(double seconds) { first_token_.Observe(seconds); }
  void ObserveToken(double seconds) { token_.Observe(seconds); }
  void ObserveRequest(const RequestMeasure& measure);
  void CountResponse(int status);
  // The whole page.
  std::string Print(const EngineStats& stats, const std::string& model_name, int64_t num_connections) const;

 private:
  Histogram first_token_, token_, request_, queue_, prefill_, decode_, prompt_tokens_, generation_tokens_;
  mutable std::mutex mutex_;
  std::map<std::string, int64_t> finished_;
  std::map<int, int64_t> responses_;
};

}  // namespace fathom
