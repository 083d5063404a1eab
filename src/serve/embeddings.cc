#include "serve/embeddings.h"

#include <atomic>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "serve/answer_format.h"
#include "serve/api_error.h"
#include "serve/generation_call.h"

namespace fathom {
namespace {

// One request under way. Filled on the engine's thread, input by input; told on the connection's.
struct Embedding {
  std::string model;
  std::vector<std::vector<int32_t>> inputs;
  Pooling pooling = Pooling::kMean;
  bool as_base64 = false;
  int64_t dimensions = 0;  // 0: all
  std::vector<std::vector<float>> vectors;
  std::atomic<bool> is_over = false;
};

std::shared_ptr<Embedding> ReadEmbedding(const OrderedJson& body, const ServedModel& model) {
  const JsonFields fields(body);
  auto read = std::make_shared<Embedding>();
  read->model = ReadModelName(fields, model);
  GenerationCall call;
  ReadPrompts(fields, "input", model, call);
  read->inputs = std::move(call.prompts);
  for (const std::vector<int32_t>& input : read->inputs) {
    if (input.empty()) ThrowBadField("input", "'input' holds an empty text: it needs at least one token");
    if (std::ssize(input) <= model.max_model_len) continue;
    throw ApiError(400, fmt::format("an input has {} tokens, and the model's context is {}", input.size(), model.max_model_len), "input", "context_length_exceeded");
  }
  const std::string format = fields.Text("encoding_format").value_or("float");
  if (format != "float" && format != "base64") ThrowBadField("encoding_format", "'encoding_format' must be float or base64, got '{}'", format.substr(0, 40));
  read->as_base64 = format == "base64";
  const std::string pooling = fields.Text("pooling").value_or("mean");
  if (pooling != "mean" && pooling != "last") ThrowBadField("pooling", "'pooling' must be mean or last, got '{}'", pooling.substr(0, 40));
  read->pooling = pooling == "last" ? Pooling::kLast : Pooling::kMean;
  read->dimensions = fields.Integer("dimensions", 1, INT32_MAX).value_or(0);
  return read;
}

// The first `dimensions` values at unit length again.
void Shorten(std::vector<float>& vector, int64_t dimensions) {
  if (dimensions == 0) return;
  if (dimensions > std::ssize(vector)) ThrowBadField("dimensions", "'dimensions' must be at most the model's {}, got {}", vector.size(), dimensions);
  vector.resize(static_cast<size_t>(dimensions));
  double square = 0;
  for (const float value : vector) square += static_cast<double>(value) * value;
  const float scale = square > 0 ? static_cast<float>(1 / std::sqrt(square)) : 0.0f;
  for (float& value : vector) value *= scale;
}

OrderedJson AnswerOf(const Embedding& embedding) {
  OrderedJson data = OrderedJson::array();
  size_t num_tokens = 0;
  for (size_t i = 0; i < embedding.vectors.size(); ++i) {
    const std::vector<float>& vector = embedding.vectors[i];
    OrderedJson value = vector;
    if (embedding.as_base64) value = Base64({reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)});
    data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", std::move(value)}});
    num_tokens += embedding.inputs[i].size();
  }
  return {{"object", "list"}, {"data", std::move(data)}, {"model", embedding.model}, {"usage", {{"prompt_tokens", num_tokens}, {"total_tokens", num_tokens}}}};
}

}  // namespace

std::string Base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

void AnswerEmbeddings(const OrderedJson& body, const ServedModel& model, const HttpHeaders& headers, const Responder& responder) {
  const std::shared_ptr<Embedding> embedding = ReadEmbedding(body, model);
  responder.OnGone([embedding] { embedding->is_over = true; });
  for (size_t i = 0; i < embedding->inputs.size(); ++i) {
    const bool is_queued = model.engine->RunBetweenSteps([embedding, i, headers, responder](StepRunner& runner) {
      if (embedding->is_over) return;
      try {
        embedding->vectors.push_back(runner.Embed(embedding->inputs[i], embedding->pooling));
        Shorten(embedding->vectors.back(), embedding->dimensions);
        if (embedding->vectors.size() < embedding->inputs.size()) return;
        responder.Send(200, "application/json", DumpJson(AnswerOf(*embedding)), headers);
      } catch (const std::exception& error) {
        const ApiError told = ToApiError(error);
        responder.Send(told.status(), "application/json", ErrorBody(told), headers);
      }
      embedding->is_over = true;
    });
    if (is_queued) continue;
    embedding->is_over = true;
    throw ApiError(429, "too many requests wait already; try again later", "", "queue_full");
  }
}

}  // namespace fathom
