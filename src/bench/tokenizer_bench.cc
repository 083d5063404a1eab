#include "bench/tokenizer_bench.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// About `count` equal parts, each but the last ending behind a line feed.
std::vector<std::string_view> PartsAtLineEnds(std::string_view text, size_t count) {
  std::vector<std::string_view> parts;
  const size_t size = text.size() / count + 1;
  while (!text.empty()) {
    const size_t line_end = size < text.size() ? text.find('\n', size) : std::string_view::npos;
    parts.push_back(text.substr(0, line_end == std::string_view::npos ? text.size() : line_end + 1));
    text.remove_prefix(parts.back().size());
  }
  return parts;
}

}  // namespace

TokenizerBenchResult BenchTokenizer(const std::filesystem::path& path, std::string_view text, int threads) {
  FATHOM_USER_CHECK(!text.empty(), "bench tokenizer: the text is empty");
  FATHOM_USER_CHECK(threads > 0, "bench tokenizer: threads must be positive, got {}", threads);
  TokenizerBenchResult result;
  const auto load_start = Clock::now();
  const auto tokenizer = Tokenizer::Load(path);
  result.load_seconds = SecondsSince(load_start);
  const auto parts = PartsAtLineEnds(text, static_cast<size_t>(threads));
  for (int run = 0; run < 3; ++run) {
    std::vector<int64_t> num_tokens(parts.size());
    const auto encode = [&](size_t part) { num_tokens[part] = static_cast<int64_t>(tokenizer->Encode(parts[part], {}).size()); };
    const auto start = Clock::now();
    std::vector<std::thread> workers;
    for (size_t part = 1; part < parts.size(); ++part) workers.emplace_back(encode, part);
    encode(0);
    for (std::thread& worker : workers) worker.join();
    const double seconds = SecondsSince(start);
    result.seconds = run == 0 ? seconds : std::min(result.seconds, seconds);
    result.num_tokens = std::accumulate(num_tokens.begin(), num_tokens.end(), int64_t{0});
  }
  result.mb_per_s = static_cast<double>(text.size()) / 1e6 / result.seconds;
  result.tokens_per_s = static_cast<double>(result.num_tokens) / result.seconds;
  return result;
}

}  // namespace fathom
