// The backward of packed attention: rows of one length (cuDNN) beside documents of mixed lengths in the same number of tokens (FlashAttention-2).
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "ops/library.h"
#include "bench/cuda_ops/report.h"

namespace fathom::bench_ops {
namespace {

using at::Tensor;

// Rows of `row` tokens cut into documents of about `mean` tokens each.
std::vector<int64_t> Documents(int64_t tokens, int64_t row, double mean) {
  std::mt19937_64 random(5);
  std::exponential_distribution<double> length(1 / mean);
  std::vector<int64_t> lengths;
  for (int64_t first = 0; first < tokens; first += row) {
    for (int64_t left = row; left > 0; left -= lengths.back()) lengths.push_back(std::min<int64_t>(left, 1 + static_cast<int64_t>(length(random))));
  }
  return lengths;
}

void Bench(const std::string& what, const std::vector<int64_t>& lengths, int64_t heads, int64_t dk, int64_t dv, bool knows_longest) {
  std::vector<int32_t> limits = {0};
  double pairs = 0;
  for (const int64_t n : lengths) {
    limits.push_back(limits.back() + static_cast<int32_t>(n));
    pairs += 0.5 * static_cast<double>(n) * static_cast<double>(n + 1);
  }
  const int64_t tokens = limits.back(), longest = *std::max_element(lengths.begin(), lengths.end());
  const Tensor cu = at::tensor(limits, at::TensorOptions().dtype(at::kInt)).to(at::kCUDA);
  const Tensor q = at::randn({tokens, heads, dk}, kBf16), k = at::randn({tokens, heads, dk}, kBf16), v = at::randn({tokens, heads, dv}, kBf16);
  const Tensor dout = at::randn({tokens, heads, dv}, kBf16);
  const double scale = 1 / std::sqrt(static_cast<double>(dk));
  const int64_t max_len = knows_longest ? longest : 0;
  const auto [out, lse] = ops::PackedAttentionForwardOp::Call(q, k, v, cu, cu, scale, -1, std::nullopt, max_len);
  const double bytes = 2.0 * tokens * heads * (4 * dk + 4 * dv);
  Report(fmt::format("attention_backward {} of {} tokens h={} {}/{}", what, tokens, heads, dk, dv), bytes, 2 * pairs * heads * (3 * dk + 2 * dv),
         {[=, out = out, lse = lse] { ops::PackedAttentionBackwardOp::Call(dout, q, k, v, out, lse, cu, cu, scale, -1, std::nullopt, max_len); }});
}

}  // namespace

void BenchAttentionBackward() {
  for (const auto& [dk, dv] : {std::pair<int64_t, int64_t>{192, 128}, {128, 128}, {64, 64}}) {
    Bench("8 rows", std::vector<int64_t>(8, 2048), 16, dk, dv, true);
    for (const double mean : {700.0, 300.0}) {
      const std::vector<int64_t> documents = Documents(16384, 2048, mean);
      Bench(fmt::format("{} documents", documents.size()), documents, 16, dk, dv, true);
    }
  }
  const std::vector<int64_t> documents = Documents(2048, 2048, 300);
  Bench(fmt::format("{} documents, plain kernel,", documents.size()), documents, 16, 192, 128, false);
}

}  // namespace fathom::bench_ops
