#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/free_memory.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/parallel_pieces.h"
#include "checkpoint/test_data.h"
#include "checkpoint/weight_source.h"
#include "checkpoint/written_checkpoint.h"

namespace fathom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Refusal(const TemporaryFolder& folder) {
  return MessageOf<UserError>([&] { LoadModel(Checkpoint::Open(folder.path()), {.dtype = at::kFloat}); });
}

std::map<std::string, at::Tensor> WeightsOf(Model& model) {
  std::map<std::string, at::Tensor> weights;
  model.ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) { weights[spec.name] = slot.values; });
  return weights;
}

void ExpectWeights(Model& model, const NamedTensors& tensors, at::ScalarType dtype) {
  const auto weights = WeightsOf(model);
  EXPECT_EQ(weights.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(weights.contains(name));
    const at::ScalarType expected = name.ends_with("e_score_correction_bias") || name.ends_with("log_temperature") ? at::kFloat : dtype;
    EXPECT_EQ(weights.at(name).scalar_type(), expected);
    EXPECT_TRUE(at::equal(weights.at(name), tensor.to(expected)));
  }
}

TEST(LoadModel, FillsEveryWeightInEveryDtype) {
  for (const Json& config : {TinyLlamaConfig(), TinyV3Config()}) {
    const TemporaryFolder folder;
    const NamedTensors tensors = RandomWeights(config);
    WriteCheckpoint(folder, config, tensors);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const auto model = LoadModel(Checkpoint::Open(folder.path()), {.dtype = dtype});
      ExpectWeights(*model, tensors, dtype);
    }
  }
}

TEST(LoadModel, ReadsShardsWithTheirIndex) {
  const TemporaryFolder folder;
  const NamedTensors tensors = RandomWeights(TinyLlamaConfig());
  Json weight_map;
  for (size_t i = 0; i < tensors.size(); ++i) weight_map[tensors[i].first] = i % 2 == 0 ? "a.safetensors" : "b.safetensors";
  NamedTensors even, odd;
  for (size_t i = 0; i < tensors.size(); ++i) (i % 2 == 0 ? even : odd).push_back(tensors[i]);
  folder.Write("config.json", TinyLlamaConfig().dump());
  folder.Write("a.safetensors", SafetensorsBytes(even));
  folder.Write("model.safetensors.index.json", Json{{"weight_map", weight_map}}.dump());
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("b.safetensors"), HasSubstr("not in the folder")));
  folder.Write("b.safetensors", SafetensorsBytes(odd));
  ExpectWeights(*LoadModel(Checkpoint::Open(folder.path()), {.dtype = at::kFloat}), tensors, at::kFloat);
}

TEST(LoadModel, RefusesAMissingWeight) {
  const TemporaryFolder folder;
  NamedTensors tensors = RandomWeights(TinyLlamaConfig());
  tensors.erase(tensors.begin() + 3);
  WriteCheckpoint(folder, TinyLlamaConfig(), tensors);
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("model.layers.0.self_attn.k_proj.weight"), HasSubstr("[4, 8]"), HasSubstr("missing")));
}

TEST(LoadModel, RefusesAWeightOfAnotherShape) {
  const TemporaryFolder folder;
  NamedTensors tensors = RandomWeights(TinyLlamaConfig());
  TensorOf(tensors, "model.layers.0.mlp.up_proj.weight") = at::zeros({8, 10});
  WriteCheckpoint(folder, TinyLlamaConfig(), tensors);
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("up_proj"), HasSubstr("must be [10, 8]"), HasSubstr("got [8, 10]")));
}

TEST(LoadModel, RefusesAWeightOfIntegers) {
  const TemporaryFolder folder;
  NamedTensors tensors = RandomWeights(TinyLlamaConfig());
  TensorOf(tensors, "model.norm.weight") = at::zeros({8}, at::kInt);
  WriteCheckpoint(folder, TinyLlamaConfig(), tensors);
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("model.norm.weight"), HasSubstr("floating point"), HasSubstr("I32")));
}

TEST(LoadModel, RefusesWhatBelongsToNoWeight) {
  const TemporaryFolder folder;
  NamedTensors tensors = RandomWeights(TinyLlamaConfig());
  tensors.emplace_back("model.layers.1.input_layernorm.weight", at::zeros({8}));
  tensors.emplace_back("extra", at::zeros({2}));
  WriteCheckpoint(folder, TinyLlamaConfig(), tensors);
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("belongs to no weight"), HasSubstr("1 others")));
}

TEST(LoadModel, LeavesOutWhatIsComputedAnew) {
  const TemporaryFolder folder;
  NamedTensors tensors = RandomWeights(TinyLlamaConfig());
  const NamedTensors stored = tensors;
  tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({2}));
  WriteCheckpoint(folder, TinyLlamaConfig(), tensors);
  ExpectWeights(*LoadModel(Checkpoint::Open(folder.path()), {.dtype = at::kFloat}), stored, at::kFloat);
}

TEST(LoadModel, ReadsATiedHeadThatTheFileRepeats) {
  Json config = TinyLlamaConfig();
  config["tie_word_embeddings"] = true;
  const NamedTensors stored = RandomWeights(config);
  NamedTensors tensors = stored;
  const TemporaryFolder folder, wrong;
  tensors.emplace_back("lm_head.weight", stored[0].second);
  WriteCheckpoint(folder, config, tensors);
  ExpectWeights(*LoadModel(Checkpoint::Open(folder.path()), {.dtype = at::kFloat}), stored, at::kFloat);
  tensors.back().second = at::zeros({3, 8});
  WriteCheckpoint(wrong, config, tensors);
  EXPECT_THAT(Refusal(wrong), AllOf(HasSubstr("lm_head.weight"), HasSubstr("[12, 8]"), HasSubstr("[3, 8]")));
}

TEST(LoadModel, TakesMtpWhereTheFilesHoldIt) {
  Json config = TinyV3Config();
  config["num_nextn_predict_layers"] = 1;
  const NamedTensors with = RandomWeights(config), without = RandomWeights(TinyV3Config());
  const TemporaryFolder both, absent, unused;
  NamedTensors repeated = with;  // released files repeat the embedding and the head
  repeated.emplace_back("model.layers.2.embed_tokens.weight", with[0].second);
  repeated.emplace_back("model.layers.2.shared_head.head.weight", TensorOf(repeated, "lm_head.weight"));
  WriteCheckpoint(both, config, repeated);
  const auto model = LoadModel(Checkpoint::Open(both.path()), {.dtype = at::kFloat});
  EXPECT_EQ(model->config().num_nextn_predict_layers, 1);
  ExpectWeights(*model, with, at::kFloat);

  WriteCheckpoint(absent, config, without);
  EXPECT_EQ(Checkpoint::Open(absent.path()).config.num_nextn_predict_layers, 0);
  ExpectWeights(*LoadModel(Checkpoint::Open(absent.path()), {.dtype = at::kFloat}), without, at::kFloat);

  WriteCheckpoint(unused, TinyV3Config(), with);
  ExpectWeights(*LoadModel(Checkpoint::Open(unused.path()), {.dtype = at::kFloat}), without, at::kFloat);
}

// Every matrix of the model in FP8 blocks of 16 x 16, as V3's files are in 128 x 128; `expanded` gets what they stand for.
NamedTensors Quantize(const NamedTensors& tensors, NamedTensors& expanded, bool is_ue8m0, at::ScalarType scale_dtype) {
  constexpr int64_t kBlock = 16;
  NamedTensors stored;
  for (const auto& [name, tensor] : tensors) {
    const bool is_matrix = name.ends_with("_proj.weight") || name.ends_with("with_mqa.weight");
    if (!is_matrix || name.ends_with("eh_proj.weight")) {
      stored.emplace_back(name, tensor.to(at::kBFloat16));
      expanded.emplace_back(name, tensor.to(at::kBFloat16).to(at::kFloat));
      continue;
    }
    const int64_t N = tensor.size(0), K = tensor.size(1), NB = (N + kBlock - 1) / kBlock, KB = (K + kBlock - 1) / kBlock;
    at::Tensor scales = at::rand({NB, KB}).add(0.5);
    if (is_ue8m0) scales = scales.log2().round().exp2();
    scales = scales.to(scale_dtype);
    const at::Tensor whole = scales.to(at::kFloat).repeat_interleave(kBlock, 0).repeat_interleave(kBlock, 1).narrow(0, 0, N).narrow(1, 0, K);
    const at::Tensor values = tensor.to(at::kFloat8_e4m3fn);
    stored.emplace_back(name, values);
    stored.emplace_back(name + "_scale_inv", scales);
    expanded.emplace_back(name, values.to(at::kFloat).mul(whole));
  }
  return stored;
}

Json Fp8Config() {
  Json config = TinyV3Config();
  config["quantization_config"] = {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"activation_scheme", "dynamic"}, {"weight_block_size", {16, 16}}};
  return config;
}

TEST(LoadModel, ExpandsFp8BlocksWithRaggedEdges) {
  for (const auto& [is_ue8m0, scale_dtype] : {std::pair{false, at::kFloat}, {false, at::kBFloat16}, {true, at::kFloat}, {true, at::kFloat8_e8m0fnu}}) {
    SCOPED_TRACE(c10::toString(scale_dtype));
    NamedTensors expanded;
    const NamedTensors stored = Quantize(RandomWeights(TinyV3Config()), expanded, is_ue8m0, scale_dtype);
    const TemporaryFolder folder;
    WriteCheckpoint(folder, Fp8Config(), stored);
    const Checkpoint checkpoint = Checkpoint::Open(folder.path());
    EXPECT_EQ(ResolveDtype("auto", checkpoint), at::kBFloat16);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) ExpectWeights(*LoadModel(checkpoint, {.dtype = dtype}), expanded, dtype);
  }
}

TEST(LoadModel, KeepsFp8BlocksWhenAsked) {
  NamedTensors expanded;
  const NamedTensors stored = Quantize(RandomWeights(TinyV3Config()), expanded, false, at::kFloat);
  const TemporaryFolder folder;
  WriteCheckpoint(folder, Fp8Config(), stored);
  EXPECT_TRUE(HasFp8Blocks(Checkpoint::Open(folder.path())));
  const auto kept = LoadModel(Checkpoint::Open(folder.path()), {.dtype = at::kFloat, .keep_fp8 = true});
  const auto plain = LoadModel(Checkpoint::Open(folder.path()), {.dtype = at::kFloat});
  int64_t num_kept = 0;
  kept->ForEachWeight([&](const WeightSpec&, WeightSlot& slot) { num_kept += slot.set_fp8 ? 1 : 0; });
  EXPECT_GT(num_kept, 10);
  const PackedBatch batch = PackedBatch::FromSequences({{1, 5, 7, 2, 9}}, at::kCPU);
  const auto logits = [&](Model& model) {
    const auto attention = MakePackedCausal(model.config(), batch);
    return model.Head(model.Forward(batch, {.attention = attention.get()}));
  };
  EXPECT_TRUE(at::allclose(logits(*kept), logits(*plain), 1e-4, 1e-4));
  const TemporaryFolder out;
  EXPECT_THAT(MessageOf<UserError>([&] { SaveHuggingFace(*kept, out.path(), at::kFloat, 1 << 30); }), HasSubstr("kept in FP8"));
}

TEST(LoadModel, HasFp8BlocksOnlyWhereEveryMatrixIsInThem) {
  NamedTensors expanded;
  NamedTensors stored = Quantize(RandomWeights(TinyV3Config()), expanded, false, at::kFloat);
  TensorOf(stored, "model.layers.0.self_attn.o_proj.weight") = TensorOf(stored, "model.layers.0.self_attn.o_proj.weight").to(at::kBFloat16);
  std::erase_if(stored, [](const auto& tensor) { return tensor.first == "model.layers.0.self_attn.o_proj.weight_scale_inv"; });
  const TemporaryFolder folder;
  WriteCheckpoint(folder, Fp8Config(), stored);
  EXPECT_FALSE(HasFp8Blocks(Checkpoint::Open(folder.path())));
}

TEST(LoadModel, RefusesScalesThatDoNotFit) {
  NamedTensors expanded;
  NamedTensors stored = Quantize(RandomWeights(TinyV3Config()), expanded, false, at::kFloat);
  TensorOf(stored, "model.layers.0.self_attn.o_proj.weight_scale_inv") = at::zeros({2, 1});
  const TemporaryFolder folder;
  WriteCheckpoint(folder, Fp8Config(), stored);
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("o_proj.weight_scale_inv"), HasSubstr("[3, 1]"), HasSubstr("[2, 1]")));
}

TEST(LoadModel, ReadsFloat8WithoutScales) {
  NamedTensors tensors = RandomWeights(TinyLlamaConfig());
  NamedTensors expected = tensors;
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].second = tensors[i].second.to(i % 2 == 0 ? at::kFloat8_e4m3fn : at::kFloat8_e5m2);
    expected[i].second = tensors[i].second.to(at::kFloat);
  }
  const TemporaryFolder folder;
  WriteCheckpoint(folder, TinyLlamaConfig(), tensors);
  ExpectWeights(*LoadModel(Checkpoint::Open(folder.path()), {.dtype = at::kFloat}), expected, at::kFloat);
}

TEST(LoadModel, ComparesMemoryBeforeItStarts) {
  Json config = TinyLlamaConfig();
  config["vocab_size"] = 1 << 30;
  config["hidden_size"] = 1024;
  config["intermediate_size"] = 8;
  config["tie_word_embeddings"] = true;
  // A sparse file of 2 TB holds the embedding without taking the disk.
  OrderedJson header;
  int64_t offset = 0;
  for (const WeightSpec& spec : ListWeights(ParseModelConfig(config, "config.json"))) {
    if (!spec.tied_to.empty()) continue;
    int64_t num_bytes = 2;
    for (const int64_t n : spec.shape) num_bytes *= n;
    header[spec.name] = {{"dtype", "BF16"}, {"shape", spec.shape}, {"data_offsets", {offset, offset + num_bytes}}};
    offset += num_bytes;
  }
  const std::string text = header.dump();
  const uint64_t size = text.size();
  const TemporaryFolder folder;
  folder.Write("config.json", config.dump());
  const auto path = folder.Write("model.safetensors", std::string(reinterpret_cast<const char*>(&size), 8) + text);
  std::error_code error;
  std::filesystem::resize_file(path, 8 + text.size() + static_cast<uint64_t>(offset), error);
  if (error) GTEST_SKIP() << "no sparse file of 2 TB here: " << error.message();
  EXPECT_THAT(MessageOf<MachineError>([&] { LoadModel(Checkpoint::Open(folder.path()), {.dtype = at::kBFloat16}); }),
              AllOf(HasSubstr("not enough memory"), HasSubstr("2199.03 GB"), HasSubstr("free")));
}

TEST(Checkpoint, SaysWhatAFolderLacks) {
  const TemporaryFolder folder;
  const auto open = [](const std::filesystem::path& path) { return MessageOf<UserError>([&] { Checkpoint::Open(path); }); };
  EXPECT_THAT(open(folder.path() / "nothing"), HasSubstr("no such model"));
  EXPECT_THAT(open(folder.path()), HasSubstr("no config.json"));
  folder.Write("x.gguf", "");
  EXPECT_THAT(open(folder.path()), HasSubstr("x.gguf"));
  EXPECT_THAT(open(folder.Write("model.safetensors", "")), HasSubstr("give its folder"));
  EXPECT_THAT(open(folder.Write("y.gguf", "GGUX")), HasSubstr("not a GGUF file"));
  std::filesystem::remove(folder.path() / "model.safetensors");
  folder.Write("config.json", TinyLlamaConfig().dump());
  EXPECT_EQ(Checkpoint::Open(folder.path()).files, nullptr);
  EXPECT_EQ(Checkpoint::Open(folder.path() / "config.json").files, nullptr);
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("has no weights"), HasSubstr("model.safetensors")));
}

TEST(Checkpoint, TakesTheDtypeOfTheFilesWhenTheConfigurationNamesNone) {
  Json config = TinyLlamaConfig();
  config.erase("torch_dtype");
  NamedTensors tensors = RandomWeights(config);
  for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kHalf);
  const TemporaryFolder folder;
  WriteCheckpoint(folder, config, tensors);
  const Checkpoint checkpoint = Checkpoint::Open(folder.path());
  EXPECT_EQ(ResolveDtype("auto", checkpoint), at::kHalf);
  EXPECT_EQ(ResolveDtype("bf16", checkpoint), at::kBFloat16);
  EXPECT_EQ(ResolveDtype("fp32", checkpoint), at::kFloat);
  EXPECT_EQ(ResolveDtype("fp16", checkpoint), at::kHalf);
  EXPECT_THROW(ResolveDtype("fp8", checkpoint), UserError);
}

TEST(ForEachPiece, DoesEachOnceAndPassesExceptionsOn) {
  at::set_num_threads(3);
  std::vector<std::atomic<int>> times(1000);
  ForEachPiece(1000, [&](int64_t i) { ++times[static_cast<size_t>(i)]; });
  for (const auto& count : times) EXPECT_EQ(count, 1);
  EXPECT_THROW(ForEachPiece(100, [](int64_t i) { FATHOM_USER_CHECK(i != 50, "piece {}", i); }), UserError);
  ForEachPiece(0, [](int64_t) { FAIL(); });
}

TEST(FreeMemory, IsPositiveAndReadsItsCounters) {
  EXPECT_GT(FreeMemoryBytes(), 0);
  EXPECT_EQ(ParseCounter("MemTotal:  10 kB\nMemAvailable:    7 kB\n", "MemAvailable"), 7);
  EXPECT_EQ(ParseCounter("inactive_file 123\n", "inactive_file"), 123);
  EXPECT_EQ(ParseCounter("total_inactive_file_x 5\n", "total_inactive_file"), -1);
  EXPECT_EQ(ParseCounter("", "x"), -1);
}

}  // namespace
}  // namespace fathom
