// A load of streaming requests on any server that speaks OpenAI's completions.
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "bench/serve_bench.h"
#include "engine/random.h"

namespace fathom {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

struct Address {
  std::string host, port;
};

Address ParseUrl(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  const std::string rest = url.substr(0, kScheme.size()) == kScheme ? url.substr(kScheme.size()) : "";
  const std::string authority = rest.substr(0, rest.find('/'));
  const size_t colon = authority.rfind(':');
  FATHOM_USER_CHECK(!authority.empty() && colon != 0, "--url must be http://HOST:PORT, got '{}'", url);
  return {authority.substr(0, colon), colon == std::string::npos ? "80" : authority.substr(colon + 1)};
}

// One connection for one exchange.
class Exchange {
 public:
  Exchange(const Address& address, const std::string& api_key) : address_(address), api_key_(api_key), socket_(io_) {
    tcp::resolver resolver(io_);
    asio::connect(socket_, resolver.resolve(address.host, address.port));
    socket_.set_option(tcp::no_delay(true));
  }

  // The status; on_piece gets the body's bytes as they come.
  template <typename OnPiece>
  int Run(http::verb method, const std::string& target, const std::string& body, OnPiece&& on_piece) {
    http::request<http::string_body> request{method, target, 11};
    request.set(http::field::host, address_.host);
    request.set(http::field::content_type, "application/json");
    if (!api_key_.empty()) request.set(http::field::authorization, "Bearer " + api_key_);
    request.body() = body;
    request.prepare_payload();
    http::write(socket_, request);
    http::response_parser<http::string_body> parser;
    parser.body_limit(uint64_t{1} << 40);
    boost::beast::flat_buffer buffer;
    http::read_header(socket_, buffer, parser);
    parser.eager(true);
    std::string& text = parser.get().body();
    while (true) {
      if (!text.empty()) on_piece(std::exchange(text, {}));
      if (parser.is_done()) break;
      http::read_some(socket_, buffer, parser);
    }
    return static_cast<int>(parser.get().result_int());
  }

 private:
  Address address_;
  std::string api_key_;
  asio::io_context io_;
  tcp::socket socket_;
};

// Words that most vocabularies hold as one token with the blank before them.
std::string Words(int64_t count, uint64_t stream) {
  static constexpr std::array<const char*, 32> kWords = {"the", "sea", "house", "time", "water", "light", "green", "stone", "name", "long", "road",
                                                         "night", "white", "world", "hand", "great", "little", "river", "wind", "earth", "fire", "tree",
                                                         "snow", "city", "book", "old", "new", "king", "green", "line", "music", "door"};
  RandomStream random(11, stream);
  std::string text;
  for (int64_t i = 0; i < count; ++i) text += std::string(i > 0 ? " " : "") + kWords[static_cast<size_t>(random.Uniform() * kWords.size())];
  return text;
}

struct Measured {
  bool is_done = false;
  double first_token_s = 0, whole_s = 0;
  std::vector<double> gaps;
  int64_t prompt_tokens = 0, new_tokens = 0;
  std::string failure;
};

Measured RunRequest(const ServerLoad& options, const Address& address, const std::string& model, const RequestLengths& lengths, uint64_t index) {
  Measured measured;
  const Json body = {{"model", model},           {"prompt", Words(lengths.prompt_tokens, index)},        {"max_tokens", lengths.new_tokens},
                     {"temperature", 0},         {"ignore_eos", true},                                   {"stream", true},
                     {"stream_options", {{"include_usage", true}}}};
  const double start = MonotonicSeconds();
  double last = 0;
  std::string pending;
  try {
    const int status = Exchange(address, options.api_key).Run(http::verb::post, "/v1/completions", body.dump(), [&](const std::string& piece) {
      const double now = MonotonicSeconds();
      pending += piece;
      for (size_t end = pending.find("\n\n"); end != std::string::npos; end = pending.find("\n\n")) {
        const std::string event = pending.substr(0, end);
        pending.erase(0, end + 2);
        const Json json = event.substr(0, 6) == "data: " ? Json::parse(event.substr(6), nullptr, false) : Json();
        if (!json.is_object()) continue;
        if (json.contains("error")) measured.failure = json["error"].dump();
        if (json.contains("usage") && json["usage"].is_object()) {
          measured.prompt_tokens = json["usage"].value("prompt_tokens", int64_t{0});
          measured.new_tokens = json["usage"].value("completion_tokens", int64_t{0});
        }
        if (!json.contains("choices") || json["choices"].empty()) continue;
        if (last == 0) measured.first_token_s = now - start;
        else measured.gaps.push_back(now - last);
        last = now;
      }
    });
    if (status != 200) measured.failure = "status " + std::to_string(status) + ": " + pending.substr(0, 200);
  } catch (const std::exception& error) {
    measured.failure = error.what();
  }
  measured.whole_s = MonotonicSeconds() - start;
  measured.is_done = measured.failure.empty();
  return measured;
}

}  // namespace

LoadResult BenchLoad(const ServerLoad& options) {
  const Address address = ParseUrl(options.url);
  std::string models;
  try {
    Exchange(address, options.api_key).Run(http::verb::get, "/v1/models", "", [&](const std::string& piece) { models += piece; });
  } catch (const std::exception& error) {
    ThrowUserError("--url {}: {}", options.url, error.what());
  }
  const Json list = Json::parse(models, nullptr, false);
  const bool is_list = list.is_object() && list.contains("data") && list["data"].is_array() && !list["data"].empty() && list["data"][0].contains("id");
  FATHOM_USER_CHECK(is_list, "--url {}: /v1/models gives no model: {}", options.url, models.substr(0, 100));
  const std::string model = list["data"][0]["id"].get<std::string>();

  const std::vector<RequestLengths> lengths = DrawLengths(options.num_requests, options.mix);
  std::vector<Measured> all(lengths.size());
  std::vector<std::thread> threads;
  std::atomic<size_t> next = 0;
  const double start = MonotonicSeconds();
  const auto stops = [&] { return options.cancelled && options.cancelled(); };
  if (options.rate > 0) {
    RandomStream random(options.mix.seed, 1);
    double due = start;
    for (size_t i = 0; i < lengths.size() && !stops(); ++i) {
      due -= std::log(1 - random.Uniform()) / options.rate;
      std::this_thread::sleep_for(std::chrono::duration<double>(std::max(due - MonotonicSeconds(), 0.0)));
      threads.emplace_back([&, i] { all[i] = RunRequest(options, address, model, lengths[i], i); });
    }
  } else {
    for (int64_t t = 0; t < std::min(options.concurrency, options.num_requests); ++t) {
      threads.emplace_back([&] {
        for (size_t i = next++; i < lengths.size() && !stops(); i = next++) all[i] = RunRequest(options, address, model, lengths[i], i);
      });
    }
  }
  for (std::thread& thread : threads) thread.join();

  LoadResult result{.seconds = MonotonicSeconds() - start};
  std::vector<double> first, gaps, whole;
  int64_t num_good = 0;
  for (const Measured& each : all) {
    if (!each.is_done) {
      ++result.num_failed;
      if (result.first_failure.empty()) result.first_failure = each.failure;
      continue;
    }
    ++result.num_done;
    result.prompt_tokens += each.prompt_tokens;
    result.new_tokens += each.new_tokens;
    first.push_back(each.first_token_s);
    whole.push_back(each.whole_s);
    gaps.insert(gaps.end(), each.gaps.begin(), each.gaps.end());
    const double mean_gap = each.new_tokens > 1 ? (each.whole_s - each.first_token_s) / static_cast<double>(each.new_tokens - 1) : 0;
    num_good += each.first_token_s <= options.ttft_limit_s && mean_gap <= options.itl_limit_s ? 1 : 0;
  }
  result.first_token_s = PercentilesOf(std::move(first));
  result.between_tokens_s = PercentilesOf(std::move(gaps));
  result.whole_s = PercentilesOf(std::move(whole));
  result.good_per_s = static_cast<double>(num_good) / result.seconds;
  return result;
}

}  // namespace fathom
