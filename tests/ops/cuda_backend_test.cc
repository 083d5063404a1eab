// The CUDA backend's loading, and its graphs over the operators. Linked into every test program that runs on FATHOM_TEST_DEVICE.
#include "ops/cuda_backend.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "ops/attention/attention.h"
#include "ops/experts/experts.h"
#include "ops/linear/linear_rows.h"
#include "ops/norm/norm.h"
#include "ops/random_tensor.h"
#include "ops/rope/rope.h"
#include "ops/router/router.h"
#include "ops/swiglu/swiglu.h"
#include "ops/tolerance.h"

namespace fathom::ops {
namespace {

#define SKIP_WITHOUT_CUDA() \
  if (!TestDevice().is_cuda()) GTEST_SKIP() << "FATHOM_TEST_DEVICE is not cuda"

TEST(CudaBackend, SaysInOneLineWhyItIsNotThere) {
  if (TestDevice().is_cuda()) GTEST_SKIP() << "the backend is loaded";
  std::string why;
  if (LoadCudaBackend(&why)) GTEST_SKIP() << "this machine has the backend";
  EXPECT_FALSE(why.empty());
  EXPECT_EQ(why.find('\n'), std::string::npos);
  EXPECT_EQ(CudaTable(), nullptr);
  EXPECT_THROW(CudaGraph(), MachineError);
}

TEST(CudaBackend, HasAKernelForEveryOperator) {
  SKIP_WITHOUT_CUDA();
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("fathom::", 0) != 0 || name.name.rfind("fathom::ggml_", 0) == 0) continue;  // blocks of GGUF files stay on the CPU
    const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name.name.c_str(), name.overload_name.c_str());
    EXPECT_TRUE(op.hasKernelForDispatchKey(c10::DispatchKey::CUDA)) << name.name;
  }
}

TEST(CudaBackend, TellsTheDevicesNameAndMemory) {
  SKIP_WITHOUT_CUDA();
  const FathomCudaTable& table = *CudaTable();
  ASSERT_GE(table.device_count(), 1);
  char name[256];
  ASSERT_EQ(table.device_name(0, name, sizeof(name)), 0);
  EXPECT_FALSE(std::string(name).empty());
  size_t free_bytes = 0, total_bytes = 0;
  ASSERT_EQ(table.memory_info(0, &free_bytes, &total_bytes), 0);
  EXPECT_GT(free_bytes, 0u);
  EXPECT_LE(free_bytes, total_bytes);
  EXPECT_NE(table.device_name(1000, name, sizeof(name)), 0);
  EXPECT_FALSE(std::string(table.last_error()).empty());
}

// What a decode step of a mixture-of-experts model with MLA calls, at `tokens` tokens.
struct DecodeStep {
  at::Tensor x, w, gate, cos, sin, experts, latents, page_table, cu_q, kv_lens, q_latent, q_rope;
  at::Tensor k_pages, v_pages, q;

  explicit DecodeStep(RandomTensors& random, int64_t tokens) {
    x = random.Normal({tokens, 256}, at::kBFloat16);
    w = random.Normal({256}, at::kBFloat16);
    gate = random.Normal({16, 256}, at::kFloat, 0.1);
    cos = random.Normal({tokens, 32}, at::kFloat);
    sin = random.Normal({tokens, 32}, at::kFloat);
    experts = random.Normal({16, 256, 256}, at::kBFloat16, 0.1);
    latents = random.Normal({tokens * 4, 64, 576}, at::kBFloat16);
    k_pages = random.Normal({tokens * 4, 64, 2, 64}, at::kBFloat16);
    v_pages = random.Normal({tokens * 4, 64, 2, 64}, at::kBFloat16);
    q = random.Normal({tokens, 4, 64}, at::kBFloat16);
    q_latent = random.Normal({tokens, 16, 512}, at::kBFloat16, 0.05);
    q_rope = random.Normal({tokens, 16, 64}, at::kBFloat16);
    std::vector<int32_t> table(tokens * 4), limits(tokens + 1), lens(tokens);
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>((i * 7) % table.size());
    for (int64_t b = 0; b < tokens; ++b) lens[b] = static_cast<int32_t>(1 + (b * 97 + 130) % 256);
    for (int64_t b = 0; b <= tokens; ++b) limits[b] = static_cast<int32_t>(b);
    page_table = IntTensor(table).view({tokens, 4});
    cu_q = IntTensor(limits);
    kv_lens = IntTensor(lens);
  }

  std::vector<at::Tensor> Run() const {
    const auto [normal, sum] = add_rms_norm(x, x, w, 1e-6);
    const auto [weights, topk_idx] = route(linear_rows(normal.to(at::kFloat), gate, std::nullopt), std::nullopt, {.top_k = 4, .n_group = 4, .topk_group = 2});
    const auto [order, offsets] = sort_by_expert(topk_idx, 16);
    const at::Tensor hidden = grouped_linear(gather_tokens(normal, order, 4), experts, offsets);
    const at::Tensor y = combine_tokens(hidden, order, weights);
    return {normal,
            y,
            rms_norm(sum, w, 1e-6),
            swiglu(y),
            rope(q_rope, cos, sin, true),
            mla_paged_attention(q_latent, q_rope, latents, page_table, cu_q, kv_lens, 0.1, std::nullopt),
            paged_attention(q, k_pages, v_pages, page_table, cu_q, kv_lens, 0.125, -1)};
  }
};

TEST(CudaGraph, ReplaysEveryOperatorOfADecodeStepOnNewInputs) {
  SKIP_WITHOUT_CUDA();
  for (const int64_t tokens : {1, 3, 16}) {
    RandomTensors random(tokens);
    DecodeStep step(random, tokens);
    step.Run();
    CudaGraph graph;
    std::vector<at::Tensor> recorded;
    graph.Capture([&] { recorded = step.Run(); });
    step.x.copy_(random.Normal({tokens, 256}, at::kBFloat16));
    step.q_latent.mul_(-1.5);
    step.kv_lens.add_(-1).clamp_(1);
    graph.Replay();
    const auto expected = step.Run();
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(IsSame(recorded[i], expected[i])) << "output " << i << " of " << tokens << " tokens";
  }
}

TEST(CudaGraph, ReportsWorkThatCannotBeCapturedAndGoesOn) {
  SKIP_WITHOUT_CUDA();
  RandomTensors random(5);
  const at::Tensor x = random.Normal({4}, at::kFloat);
  {
    CudaGraph graph;
    EXPECT_ANY_THROW(graph.Capture([&] { x.sum().item<float>(); }));
  }
  EXPECT_TRUE(IsNear(x.add(1.0).sub(1.0), x, at::kHalf));
}

}  // namespace
}  // namespace fathom::ops
