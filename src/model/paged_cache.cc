// The paged cache and attention over it.
// Legend: T tokens of the batch, B sequences, P pages, H query heads, G key/value heads, S keys of the batch's sequences, W values of a row.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sort.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>

#include "base/error.h"
#include "model/attention_backend.h"
#include "model/layers/indexer.h"
#include "model/mla_expansion.h"
#include "model/model.h"
#include "model/placement.h"
#include "ops/attention/attention.h"
#include "ops/cache/fp8_latents.h"
#include "ops/cache/store_rows.h"

namespace fathom {

struct PagedCache::Storage {
  ModelConfig config;
  int64_t num_pages = 0;
  // A layer: [P, page, 2G, D] (keys, then values), or [P, page, R + rope], or in FP8 [P, page, Fp8LatentBytes(R, rope)] uint8.
  std::vector<at::Tensor> pages;
  std::vector<at::Tensor> index_pages;  // a layer: [P, page, index_head_dim]
  bool is_fp8() const { return !pages.empty() && pages[0].scalar_type() == at::kByte; }
};

namespace {

// Rows [first, first + count) of what a layer hands over.
MlaInputs RowsOf(const MlaInputs& inputs, int64_t first, int64_t count) {
  const auto rows = [&](const at::Tensor& x) { return x.defined() ? x.narrow(0, first, count) : x; };
  MlaInputs part = inputs;
  for (at::Tensor* x : {&part.q_nope_THD, &part.q_rope_THD, &part.q_THD, &part.latent_TR, &part.k_rope_TD}) *x = rows(*x);
  return part;
}

at::Tensor ToDevice(const std::vector<int32_t>& values, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kInt);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<int32_t>());
  return host.to(device);
}

at::Tensor ToDevice(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<int64_t>());
  return host.to(device);
}

}  // namespace

class PagedAttention final : public AttentionBackend {
 public:
  PagedAttention(PagedCache::Storage& storage, const PackedBatch& batch, const PagedCache::Step& step)
      : storage_(storage), step_(step), cu_q_(batch.cu_seqlens), lens_(HostLens(batch)), device_(batch.positions_T.device()) {
    Check();
    std::vector<int64_t> slots;
    std::vector<int32_t> table(lens_.size() * TableWidth(), -1);
    for (size_t b = 0; b < lens_.size(); ++b) {
      std::copy(step.page_table[b].begin(), step.page_table[b].end(), table.begin() + static_cast<std::ptrdiff_t>(b * TableWidth()));
      for (int64_t i = step.kv_lens[b] - lens_[b]; i < step.kv_lens[b]; ++i) slots.push_back(SlotOf(b, i));
      has_prefix_ = has_prefix_ || step.kv_lens[b] > lens_[b];
      max_kv_len_ = std::max(max_kv_len_, step.kv_lens[b]);
    }
    while (num_absorbed_ < std::ssize(lens_) && lens_[static_cast<size_t>(num_absorbed_)] <= PagedCache::kMostAbsorbedTokens) {
      absorbed_tokens_ += lens_[static_cast<size_t>(num_absorbed_++)];
    }
    is_absorbed_ = num_absorbed_ == std::ssize(lens_);
    if (!is_absorbed_) BindExpanded();
    slots_T_ = ToDevice(slots, device_);
    page_table_ = DeviceCopies(ToDevice(table, device_).view({static_cast<int64_t>(lens_.size()), static_cast<int64_t>(TableWidth())}));
    kv_lens_ = ToDevice(step.kv_lens, device_);
  }

  PagedAttention(PagedCache::Storage& storage, const PackedBatch& batch, const PagedCache::DeviceStep& step)
      : storage_(storage), cu_q_(batch.cu_seqlens), device_(batch.positions_T.device()), slots_T_(step.slots_B), page_table_(step.page_table),
        kv_lens_(step.kv_lens_B), num_absorbed_(step.kv_lens_B.size(0)), has_prefix_(true), is_absorbed_(true), is_on_device_(true) {
    max_kv_len_ = static_cast<int32_t>(step.page_table.size(1) * kPageTokens);
  }

  at::Tensor Gqa(int64_t layer_idx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) override {
    const at::NoGradGuard no_grad;
    at::Tensor& pages = storage_.pages[static_cast<size_t>(layer_idx)];
    Store(pages, k, v);
    const at::Device device = q.device();
    const at::Tensor& cu_q = cu_q_.On(device);
    if (!has_prefix_ && !is_absorbed_) return ops::packed_attention(q, k, v, cu_q, cu_q, scale, -1, std::nullopt);
    const int64_t G = k.size(1);
    return ops::paged_attention(q.to(pages.scalar_type()), pages.narrow(2, 0, G), pages.narrow(2, G, G), page_table_.On(device), cu_q,
                                kv_lens_.On(device), scale, -1)
        .to(q.scalar_type());
  }

  // The absorbed form reads latents from the pages alone.
  LatentRows MlaRows(int64_t layer_idx) override {
    if (!is_absorbed_ || storage_.is_fp8()) return {};
    const at::Tensor& pages = storage_.pages[static_cast<size_t>(layer_idx)];
    return {pages.view({-1, pages.size(2)}), slots_T_.On(pages.device())};
  }

  at::Tensor Mla(int64_t layer_idx, const MlaInputs& inputs) override {
    const at::NoGradGuard no_grad;
    if (inputs.latent_TR.defined()) StoreLatents(layer_idx, inputs);
    const std::optional<at::Tensor> topk_idx = Choose(layer_idx, inputs);
    if (is_absorbed_) return Absorbed(layer_idx, inputs, topk_idx);
    if (num_absorbed_ == 0) return Expanded(layer_idx, inputs, topk_idx);
    const int64_t first = absorbed_tokens_, rest = inputs.q_nope_THD.size(0) - first;
    std::optional<at::Tensor> few_idx, rest_idx;
    if (topk_idx) {
      few_idx = topk_idx->narrow(0, 0, first);
      rest_idx = topk_idx->narrow(0, first, rest);
    }
    return at::cat({Absorbed(layer_idx, RowsOf(inputs, 0, first), few_idx), Expanded(layer_idx, RowsOf(inputs, first, rest), rest_idx)});
  }

 private:
  void Check() const {
    FATHOM_CHECK(step_.page_table.size() == lens_.size() && step_.kv_lens.size() == lens_.size(), "a step of {} sequences has {} page tables and {} lengths",
                 lens_.size(), step_.page_table.size(), step_.kv_lens.size());
    for (size_t b = 0; b < lens_.size(); ++b) {
      const int64_t needed = (step_.kv_lens[b] + kPageTokens - 1) / kPageTokens;
      FATHOM_CHECK(step_.kv_lens[b] >= lens_[b] && static_cast<int64_t>(step_.page_table[b].size()) >= needed,
                   "sequence {} has {} keys, {} of them new, and {} pages", b, step_.kv_lens[b], lens_[b], step_.page_table[b].size());
      for (int64_t i = 0; i < needed; ++i) {
        const int64_t page = step_.page_table[b][static_cast<size_t>(i)];
        FATHOM_CHECK(page >= 0 && page < storage_.num_pages, "sequence {} uses page {} of {}", b, page, storage_.num_pages);
      }
    }
  }

  size_t TableWidth() const {
    size_t width = 1;
    for (const auto& row : step_.page_table) width = std::max(width, row.size());
    return width;
  }

  int64_t SlotOf(size_t b, int64_t position) const {
    return step_.page_table[b][static_cast<size_t>(position / kPageTokens)] * kPageTokens + position % kPageTokens;
  }

  // Writes the batch's rows (a, b), each [T, ...], into their slots.
  void Store(at::Tensor& pages, const at::Tensor& a, const at::Tensor& b) const {
    const int64_t W = pages.numel() / (pages.size(0) * pages.size(1));
    ops::store_rows(pages.view({-1, W}), slots_T_.On(pages.device()), a.flatten(1).to(pages.scalar_type()), b.flatten(1).to(pages.scalar_type()));
  }

  void StoreLatents(int64_t layer_idx, const MlaInputs& inputs) const {
    at::Tensor& pages = storage_.pages[static_cast<size_t>(layer_idx)];
    if (!storage_.is_fp8()) return Store(pages, inputs.latent_TR, inputs.k_rope_TD);
    ops::store_fp8_latents(pages.view({-1, pages.size(2)}), slots_T_.On(pages.device()), inputs.latent_TR, inputs.k_rope_TD);
  }

  // Slots of every key of every sequence, one sequence after the other.
  const at::Tensor& AllSlots(at::Device device) {
    if (all_slots_S_) return all_slots_S_->On(device);
    std::vector<int64_t> slots;
    for (size_t b = 0; b < lens_.size(); ++b) {
      for (int64_t i = 0; i < step_.kv_lens[b]; ++i) slots.push_back(SlotOf(b, i));
    }
    all_slots_S_ = ToDevice(slots, device_);
    return all_slots_S_->On(device);
  }

  // The limits of the sequences that are not absorbed, counted from the first of them.
  void BindExpanded() {
    std::vector<int32_t> queries = {0}, keys = {0};
    for (size_t b = 0; b < lens_.size(); ++b) {
      if (static_cast<int64_t>(b) < num_absorbed_) {
        absorbed_keys_ += step_.kv_lens[b];
        continue;
      }
      queries.push_back(queries.back() + lens_[b]);
      keys.push_back(keys.back() + step_.kv_lens[b]);
      expands_prefix_ = expands_prefix_ || step_.kv_lens[b] > lens_[b];
    }
    expanded_keys_ = keys.back();
    expanded_cu_q_ = ToDevice(queries, device_);
    expanded_cu_k_ = ToDevice(keys, device_);
  }

  at::Tensor Expanded(int64_t layer_idx, const MlaInputs& inputs, const std::optional<at::Tensor>& topk_idx) {
    const at::Device device = inputs.latent_TR.device();
    const at::Tensor& cu_q = expanded_cu_q_.On(device);
    at::Tensor latent_SR = inputs.latent_TR, k_rope_SD = inputs.k_rope_TD, cu_k = cu_q;
    // From an FP8 cache a prompt reads its own rows back too: what a sequence gets depends neither on its chunks nor on the others in the step.
    if (expands_prefix_ || storage_.is_fp8()) {
      const at::Tensor& pages = storage_.pages[static_cast<size_t>(layer_idx)];
      const at::Tensor slots = AllSlots(device).narrow(0, absorbed_keys_, expanded_keys_);
      const at::Tensor kept = pages.view({-1, pages.size(2)}).index_select(0, slots);
      const at::ScalarType dtype = inputs.latent_TR.scalar_type();
      const at::Tensor rows = storage_.is_fp8() ? ops::ExpandFp8Latents(kept, storage_.config.kv_lora_rank, dtype) : kept.to(dtype);
      latent_SR = rows.narrow(1, 0, latent_SR.size(1));
      k_rope_SD = rows.narrow(1, latent_SR.size(1), k_rope_SD.size(1));
      cu_k = expanded_cu_k_.On(device);
    }
    const ExpandedKeys keys = Expand(inputs, latent_SR, k_rope_SD);
    return ops::packed_attention(keys.q_THD, keys.k_SHD, keys.v_SHD, cu_q, cu_k, inputs.scale, -1, topk_idx);
  }

  // Queries go to the latents' space with kv_b's key half, answers come back with its value half (arXiv 2405.04434, 2.1.2).
  at::Tensor Absorbed(int64_t layer_idx, const MlaInputs& inputs, const std::optional<at::Tensor>& topk_idx) const {
    const at::Tensor& pages = storage_.pages[static_cast<size_t>(layer_idx)];
    const int64_t H = inputs.q_nope_THD.size(1), nope = inputs.q_nope_THD.size(2);
    const int64_t stride = inputs.kv_b->weight()->out_features() / H;
    const at::Tensor q_latent_THR = inputs.kv_b->ApplyHeadsTransposed(inputs.q_nope_THD, stride, 0, nope);
    const at::ScalarType dtype = storage_.is_fp8() ? q_latent_THR.scalar_type() : pages.scalar_type();
    const at::Device device = pages.device();
    const at::Tensor out_THR = ops::mla_paged_attention(q_latent_THR.to(dtype), inputs.q_rope_THD.to(dtype), pages,
                                                        page_table_.On(device).narrow(0, 0, num_absorbed_), cu_q_.On(device).narrow(0, 0, num_absorbed_ + 1),
                                                        kv_lens_.On(device).narrow(0, 0, num_absorbed_), inputs.scale, topk_idx);
    return inputs.kv_b->ApplyHeads(out_THR.to(inputs.q_nope_THD.scalar_type()), stride, nope, stride);
  }

  std::optional<at::Tensor> Choose(int64_t layer_idx, const MlaInputs& inputs) {
    if (!inputs.index_k_TD.defined()) return std::nullopt;
    at::Tensor& pages = storage_.index_pages[static_cast<size_t>(layer_idx)];
    Store(pages, inputs.index_k_TD, inputs.index_k_TD.narrow(1, 0, 0));
    if (max_kv_len_ <= storage_.config.index_topk) return std::nullopt;  // every key is chosen
    if (is_on_device_) return ChooseOnDevice(pages, inputs);
    const at::Tensor k_SD = pages.view({-1, pages.size(2)}).index_select(0, AllSlots(pages.device()));
    std::vector<at::Tensor> choices;
    int64_t first_query = 0, first_key = 0;
    for (size_t b = 0; b < lens_.size(); ++b) {
      const int64_t n = lens_[b], S = step_.kv_lens[b];
      choices.push_back(ChooseKeys(inputs.index_q_THD.narrow(0, first_query, n), k_SD.narrow(0, first_key, S),
                                   inputs.index_weights_TH.narrow(0, first_query, n), storage_.config.index_topk));
      first_query += n;
      first_key += S;
    }
    return StackChoices(choices);
  }

  // One token a sequence, every sequence as long as its row of the page table: what lies past its end is masked before the choice.
  std::optional<at::Tensor> ChooseOnDevice(const at::Tensor& pages, const MlaInputs& inputs) const {
    const at::Tensor &page_table = page_table_.On(pages.device()), &kv_lens_B = kv_lens_.On(pages.device());
    const int64_t B = page_table.size(0), S = page_table.size(1) * kPageTokens, d = pages.size(2);
    const at::Tensor k_BSd = pages.index_select(0, page_table.clamp_min(0).reshape({-1})).view({B, S, d}).to(at::kFloat);
    const at::Tensor scores_BHS = at::matmul(inputs.index_q_THD.to(at::kFloat), k_BSd.transpose(1, 2)).mul_(1.0 / std::sqrt(static_cast<double>(d))).relu_();
    at::Tensor index_BS = at::matmul(inputs.index_weights_TH.unsqueeze(1), scores_BHS).squeeze(1);
    const at::Tensor key_S = at::arange(S, kv_lens_B.options());
    index_BS = index_BS.masked_fill(key_S.unsqueeze(0).ge(kv_lens_B.unsqueeze(1)), -std::numeric_limits<double>::infinity());
    return std::get<1>(at::sort(index_BS, /*stable=*/true, -1, /*descending=*/true)).narrow(1, 0, storage_.config.index_topk).to(at::kInt);
  }

  PagedCache::Storage& storage_;
  PagedCache::Step step_;
  DeviceCopies cu_q_;
  std::vector<int32_t> lens_;
  at::Device device_;  // of the batch; a layer may be elsewhere
  DeviceCopies slots_T_, page_table_, kv_lens_, expanded_cu_q_, expanded_cu_k_;
  std::optional<DeviceCopies> all_slots_S_;
  int64_t num_absorbed_ = 0;                        // sequences, the first ones
  int64_t absorbed_tokens_ = 0, absorbed_keys_ = 0, expanded_keys_ = 0;
  bool has_prefix_ = false, expands_prefix_ = false, is_absorbed_ = false, is_on_device_ = false;
  int32_t max_kv_len_ = 0;
};

PagedCache::PagedCache(const ModelConfig& config, const ModelOptions& options, int64_t num_pages) : storage_(std::make_unique<Storage>()) {
  CheckCacheFormat(config, options.kv_cache);
  const bool is_fp8 = options.kv_cache == CacheFormat::kFp8;
  const at::ScalarType dtype = is_fp8 ? at::kByte : options.kv_cache == CacheFormat::kBf16 ? at::kBFloat16 : options.dtype;
  storage_->config = config;
  storage_->num_pages = num_pages;
  const int64_t num_layers = config.num_hidden_layers + config.num_nextn_predict_layers;
  try {
    for (int64_t i = 0; i < num_layers; ++i) {
      const auto where = at::TensorOptions().dtype(dtype).device(DeviceOfLayer(config, options, i));
      if (config.has_mla()) {
        const int64_t R = config.kv_lora_rank, rope = config.qk_rope_head_dim;
        storage_->pages.push_back(at::empty({num_pages, kPageTokens, is_fp8 ? ops::Fp8LatentBytes(R, rope) : R + rope}, where));
      } else {
        storage_->pages.push_back(at::empty({num_pages, kPageTokens, 2 * config.num_key_value_heads, config.head_dim}, where));
      }
      if (config.has_indexer()) storage_->index_pages.push_back(at::empty({num_pages, kPageTokens, config.index_head_dim}, where.dtype(options.dtype)));
    }
  } catch (const std::exception& e) {  // c10::Error of an allocator, or std::bad_alloc
    const int64_t bytes = num_layers * CacheBytesPerTokenPerLayer(config, options.dtype, options.kv_cache);
    storage_->pages.clear();  // what was allocated before the one that failed
    storage_->index_pages.clear();
    ThrowMachineError("not enough memory on {} for a cache of {} tokens: {:.2f} GB asked ({} bytes a token), {:.2f} GB free; shorter sequences "
                      "(--max-new-tokens, --prompt-tokens, --max-model-len) or fewer (--n, --batch, --max-num-seqs) take less{}",
                      options.device.str(), num_pages * kPageTokens, static_cast<double>(bytes * num_pages * kPageTokens) / 1e9, bytes,
                      static_cast<double>(FreeBytesOn(options.device)) / 1e9, config.has_mla() && !is_fp8 ? ", and so does --kv-cache-dtype fp8" : "");
  }
}

PagedCache::~PagedCache() = default;
int64_t PagedCache::num_pages() const { return storage_->num_pages; }

int64_t PagedCache::num_bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor& pages : storage_->pages) bytes += static_cast<int64_t>(pages.nbytes());
  for (const at::Tensor& pages : storage_->index_pages) bytes += static_cast<int64_t>(pages.nbytes());
  return bytes;
}

std::unique_ptr<AttentionBackend> PagedCache::Bind(const PackedBatch& batch, const Step& step) {
  return std::make_unique<PagedAttention>(*storage_, batch, step);
}

std::unique_ptr<AttentionBackend> PagedCache::BindDecode(const PackedBatch& batch, const DeviceStep& step) {
  return std::make_unique<PagedAttention>(*storage_, batch, step);
}

}  // namespace fathom
