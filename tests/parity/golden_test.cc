// Every architecture variant beside transformers' answers (goldens/, made by make_goldens.py): logits, greedy tokens, MTP, every gradient; and
// the equalities of one forward: packed = alone, prefill = decode step by step, chunked = whole, batched = one by one.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "ops/test_device.h"
#include "parity/parity_run.h"
#include "places.h"

namespace fathom::parity {
namespace {

constexpr double kLogitsTolerance = 1e-4;    // absolute, float32
constexpr double kGradientTolerance = 1e-3;  // of the reference's largest value in that weight
constexpr double kPathTolerance = 5e-5;      // between two ways of computing the same logits

class Golden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (ops::TestDevice().is_cuda() && std::string(GetParam()) == "v32_ties") GTEST_SKIP() << "among equal scores a GPU's topk takes others";
    folder_ = SourceFolder() / "tests/parity/goldens" / GetParam();
    checkpoint_ = Checkpoint::Open(folder_);
    ModelOptions options;
    options.dtype = at::kFloat;
    options.device = ops::TestDevice();
    model_ = LoadModel(checkpoint_, options);
    golden_ = OpenSafetensors({folder_ / "golden.safetensors"});
  }

  at::Tensor Value(const std::string& name) const {
    const TensorEntry* entry = golden_->Find(name);
    return entry == nullptr ? at::Tensor() : ReadTensor(*entry, at::ScalarType::Undefined);
  }
  std::vector<int32_t> Tokens(const std::string& name) const {
    const at::Tensor values = Value(name);
    return {values.data_ptr<int32_t>(), values.data_ptr<int32_t>() + values.numel()};
  }
  // Not with dynamic RoPE (cached keys keep their old base), nor with exact ties in the index (a step's row is shorter than the prompt's).
  bool CacheKeepsAnswers() const { return checkpoint_.config.rope_scaling.kind != RopeKind::kDynamic && std::string(GetParam()) != "v32_ties"; }
  static double Difference(const at::Tensor& a, const at::Tensor& b) { return (a.to(at::kCPU) - b.to(at::kCPU)).abs().max().item<double>(); }

  std::filesystem::path folder_;
  Checkpoint checkpoint_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<TensorFiles> golden_;
};

TEST_P(Golden, LogitsOfPromptsOfOneSeventeenAndSeventyTokens) {
  for (const char* n : {"1", "17", "70"}) {
    const at::Tensor logits = Logits(*model_, Tokens(std::string("tokens_") + n));
    const double difference = Difference(logits, Value(std::string("logits_") + n));
    EXPECT_LE(difference, kLogitsTolerance) << "prompt of " << n;
    RecordProperty(std::string("max_difference_") + n, std::to_string(difference));
  }
}

TEST_P(Golden, TheSameTwentyFourGreedyTokens) { EXPECT_EQ(Greedy(*model_, Tokens("tokens_17"), 24), Tokens("greedy_17")); }

TEST_P(Golden, PackedSequencesAreEachAlone) {
  const std::vector<at::Tensor> packed = PackedLogits(*model_, {Tokens("tokens_17"), Tokens("tokens_1"), Tokens("tokens_70")});
  EXPECT_LE(Difference(packed[0], Value("logits_17")), kLogitsTolerance);
  EXPECT_LE(Difference(packed[1], Value("logits_1")), kLogitsTolerance);
  EXPECT_LE(Difference(packed[2], Value("logits_70")), kLogitsTolerance);
}

TEST_P(Golden, PrefillIsDecodeStepByStep) {
  if (!CacheKeepsAnswers()) GTEST_SKIP() << "not an equality here";
  const std::vector<int32_t> tokens = Tokens("tokens_70");
  const at::Tensor whole = Logits(*model_, tokens);
  EXPECT_LE(Difference(PagedLogits(*model_, tokens, {}), whole), kPathTolerance) << "one token a step";
  EXPECT_LE(Difference(PagedLogits(*model_, tokens, {70}), whole), kPathTolerance) << "one prefill";
  EXPECT_LE(Difference(PagedLogits(*model_, tokens, {17, 30, 3, 2, 10}), whole), kPathTolerance) << "chunks on a cached prefix";
}

TEST_P(Golden, DecodingSideBySideIsDecodingAlone) {
  if (!CacheKeepsAnswers()) GTEST_SKIP() << "not an equality here";
  const std::vector<int32_t> a = Tokens("tokens_17"), b = Tokens("tokens_70");
  const std::vector<at::Tensor> both = BatchedPagedLogits(*model_, {a, b});
  EXPECT_LE(Difference(both[0], Value("logits_17")), kLogitsTolerance);
  EXPECT_LE(Difference(both[1], Value("logits_70")), kLogitsTolerance);
}

TEST_P(Golden, MtpLogits) {
  const at::Tensor expected = Value("mtp_logits_17");
  EXPECT_EQ(expected.defined(), checkpoint_.config.num_nextn_predict_layers > 0);
  if (!expected.defined()) return;
  EXPECT_LE(Difference(MtpLogits(*model_, Tokens("tokens_17")), expected), kLogitsTolerance);
}

TEST_P(Golden, GradientsOfEveryWeight) {
  model_->RequireGrad(true);
  const at::Tensor loss = Loss(*model_, {Tokens("tokens_17"), Tokens("tokens_70")});
  EXPECT_NEAR(loss.item<double>(), Value("loss").item<double>(), 1e-5);
  loss.backward();
  const std::map<std::string, at::Tensor> gradients = Gradients(*model_);
  int64_t num_compared = 0;
  double worst = 0;
  for (const TensorEntry& entry : golden_->entries()) {
    if (entry.name.rfind("grad.", 0) != 0) continue;
    const auto found = gradients.find(entry.name.substr(5));
    if (found == gradients.end()) continue;  // a tie
    const at::Tensor expected = ReadTensor(entry, at::kFloat);
    const double size = std::max(expected.abs().max().item<double>(), 1e-6);
    const double error = Difference(found->second, expected) / size;
    worst = std::max(worst, error);
    EXPECT_LE(error, kGradientTolerance) << entry.name;
    ++num_compared;
  }
  RecordProperty("worst_relative_error", std::to_string(worst));
  EXPECT_EQ(num_compared, static_cast<int64_t>(gradients.size()));
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden,
                         ::testing::Values("llama", "llama_llama3_bias", "llama_linear", "llama_dynamic", "llama_yarn", "qwen2", "v2_lite", "v2",
                                           "v3", "v3_plain", "v32", "v32_ties"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace fathom::parity
