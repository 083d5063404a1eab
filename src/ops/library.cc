// The schemas of every operator of the namespace `fathom`; C++ signatures are in library.h.
#include <torch/library.h>

TORCH_LIBRARY(fathom, m) {
  m.def("linear_rows(Tensor x, Tensor w, Tensor? bias) -> Tensor");

  m.def("ggml_linear_rows(Tensor x, Tensor blocks, int format) -> Tensor");
  m.def("ggml_expand(Tensor blocks, int format) -> Tensor");

  m.def("rms_norm(Tensor x, Tensor w, float eps) -> Tensor");
  m.def("rms_norm_backward(Tensor dy, Tensor x, Tensor w, float eps, Tensor? added) -> (Tensor, Tensor)");
  m.def("add_rms_norm(Tensor x, Tensor residual, Tensor w, float eps) -> (Tensor, Tensor)");

  m.def("rope(Tensor x, Tensor cos, Tensor sin, bool interleaved) -> Tensor");
  m.def("rope_backward(Tensor dy, Tensor cos, Tensor sin, bool interleaved) -> Tensor");

  m.def("swiglu(Tensor gate_up) -> Tensor");
  m.def("swiglu_backward(Tensor dy, Tensor gate_up) -> Tensor");

  m.def("route(Tensor logits, Tensor? bias, int top_k, int score_func, int n_group, int topk_group, bool group_top2, "
        "bool norm_topk_prob, float routed_scaling_factor) -> (Tensor, Tensor)");
  m.def("route_replay(Tensor logits, Tensor topk_idx, int score_func, bool norm_topk_prob, float routed_scaling_factor) -> Tensor");
  m.def("route_backward(Tensor dweights, Tensor logits, Tensor topk_idx, int score_func, bool norm_topk_prob, "
        "float routed_scaling_factor) -> Tensor");
  m.def("route_tokens(Tensor x, Tensor w, Tensor? bias, int top_k, int score_func, int n_group, int topk_group, bool group_top2, "
        "bool norm_topk_prob, float routed_scaling_factor) -> (Tensor, Tensor)");

  m.def("mix_experts(Tensor x, Tensor weights, Tensor topk_idx, Tensor gate_up, Tensor down, Tensor? shared_gate_up, Tensor? shared_down) -> Tensor");
  m.def("sort_by_expert(Tensor topk_idx, int num_experts) -> (Tensor, Tensor)");
  m.def("gather_tokens(Tensor x, Tensor order, int top_k) -> Tensor");
  m.def("gather_tokens_backward(Tensor dy, Tensor order, int top_k) -> Tensor");
  m.def("combine_tokens(Tensor x_sorted, Tensor order, Tensor weights) -> Tensor");
  m.def("combine_tokens_backward(Tensor dy, Tensor x_sorted, Tensor order, Tensor weights) -> (Tensor, Tensor)");
  m.def("grouped_linear(Tensor x, Tensor w, Tensor offsets) -> Tensor");
  m.def("grouped_linear_dgrad(Tensor dy, Tensor w, Tensor offsets) -> Tensor");
  m.def("grouped_linear_wgrad(Tensor dy, Tensor x, Tensor offsets) -> Tensor");

  m.def("fp8_quantize(Tensor x, Tensor? offsets, bool rows, bool columns, bool power_of_two) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("fp8_quantize_weight(Tensor w, bool power_of_two) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("fp8_linear(Tensor x, Tensor x_scales, Tensor w, Tensor w_scales, Tensor? offsets, ScalarType dtype) -> Tensor");
  m.def("fp8_wgrad(Tensor dy, Tensor dy_scales, Tensor x, Tensor x_scales, Tensor? offsets, int num_rows, ScalarType dtype) -> Tensor");
  m.def("fp8_linear_rows(Tensor x, Tensor w, Tensor w_scales, Tensor? bias) -> Tensor");
  m.def("fp8_grouped_rows(Tensor x, Tensor w, Tensor w_scales, Tensor offsets) -> Tensor");

  m.def("packed_attention(Tensor q, Tensor k, Tensor v, Tensor cu_q, Tensor cu_k, float scale, int window, Tensor? topk_idx, "
        "int max_len) -> Tensor");
  m.def("packed_attention_forward(Tensor q, Tensor k, Tensor v, Tensor cu_q, Tensor cu_k, float scale, int window, "
        "Tensor? topk_idx, int max_len) -> (Tensor, Tensor)");
  m.def("packed_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, Tensor cu_q, Tensor cu_k, "
        "float scale, int window, Tensor? topk_idx, int max_len) -> (Tensor, Tensor, Tensor)");
  m.def("rope_tail(Tensor q, Tensor cos, Tensor sin, bool interleaved) -> Tensor");
  m.def("rope_tail_backward(Tensor dy, Tensor cos, Tensor sin, bool interleaved) -> Tensor");
  m.def("mla_keys(Tensor kv, Tensor k_rope, int nope) -> Tensor");
  m.def("mla_keys_backward(Tensor dk, Tensor dv, int nope) -> (Tensor, Tensor)");
  m.def("paged_attention(Tensor q, Tensor k_pages, Tensor v_pages, Tensor page_table, Tensor cu_q, Tensor kv_lens, float scale, "
        "int window) -> Tensor");
  m.def("mla_paged_attention(Tensor q_latent, Tensor q_rope, Tensor pages, Tensor page_table, Tensor cu_q, Tensor kv_lens, "
        "float scale, Tensor? topk_idx) -> Tensor");

  m.def("cross_entropy_rows(Tensor(a!) logits, Tensor targets, Tensor scales, float z_loss, bool gradient) -> (Tensor, Tensor)");

  m.def("gradient_norm(Tensor[] gradients) -> Tensor");
  m.def("adamw(Tensor(a!)[] weights, Tensor[] gradients, Tensor(b!)[] first_moments, Tensor(c!)[] second_moments, Tensor(d!)[] masters, Tensor norm, "
        "float lr, float beta1, float beta2, float eps, float weight_decay, float max_norm, int step) -> ()");

  m.def("count_choices(Tensor topk_idx, int num_experts) -> Tensor");
  m.def("balance_terms(Tensor logits, Tensor topk_idx, Tensor cu_seqlens, int score_func) -> (Tensor, Tensor)");
  m.def("balance_backward(Tensor logits, Tensor f, Tensor cu_seqlens, Tensor scale, int score_func) -> Tensor");

  m.def("store_rows(Tensor(a!) cache, Tensor slots, Tensor a, Tensor b) -> ()");
  m.def("store_fp8_latents(Tensor(a!) cache, Tensor slots, Tensor latent, Tensor k_rope) -> ()");
  m.def("store_latents(Tensor(a!) cache, Tensor slots, Tensor kv_a, Tensor w, Tensor q_rope, Tensor cos, Tensor sin, float eps, "
        "bool interleaved) -> Tensor");

  m.def("sample_tokens(Tensor logits, Tensor settings, Tensor biases, Tensor seen, Tensor limits) -> Tensor");
}
