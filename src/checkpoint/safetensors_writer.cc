#include "checkpoint/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/json.h"
#include "checkpoint/dtype_names.h"

namespace fathom {
namespace {

using Shard = std::vector<const OutgoingTensor*>;

std::vector<Shard> PlanShards(const std::vector<OutgoingTensor>& tensors, int64_t max_shard_bytes) {
  std::vector<Shard> shards(1);
  int64_t num_bytes = 0;
  for (const OutgoingTensor& tensor : tensors) {
    if (!shards.back().empty() && num_bytes + tensor.num_bytes() > max_shard_bytes) {
      shards.emplace_back();
      num_bytes = 0;
    }
    shards.back().push_back(&tensor);
    num_bytes += tensor.num_bytes();
  }
  return shards;
}

void WriteShard(Shard shard, const std::filesystem::path& path) {
  // Wide types first, so that every tensor is aligned to its element.
  std::stable_sort(shard.begin(), shard.end(),
                   [](const auto* a, const auto* b) { return c10::elementSize(a->dtype) > c10::elementSize(b->dtype); });
  OrderedJson header;
  header["__metadata__"] = {{"format", "pt"}};
  int64_t offset = 0;
  for (const OutgoingTensor* tensor : shard) {
    header[tensor->name] = {{"dtype", SafetensorsName(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {offset, offset + tensor->num_bytes()}}};
    offset += tensor->num_bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  OutputFile file(path);
  const uint64_t size = text.size();
  file.Write(&size, sizeof size);
  file.Write(text);
  for (const OutgoingTensor* tensor : shard) WriteValues(*tensor, file);
  file.Close();
}

}  // namespace

void WriteSafetensors(const std::vector<OutgoingTensor>& tensors, const std::filesystem::path& folder, int64_t max_shard_bytes) {
  const std::vector<Shard> shards = PlanShards(tensors, max_shard_bytes);
  if (shards.size() == 1) return WriteShard(shards.front(), folder / "model.safetensors");
  Json weight_map = Json::object();
  int64_t total_size = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    WriteShard(shards[i], folder / name);
    for (const OutgoingTensor* tensor : shards[i]) {
      weight_map[tensor->name] = name;
      total_size += tensor->num_bytes();
    }
  }
  OutputFile index(folder / "model.safetensors.index.json");
  index.Write(Json{{"metadata", {{"total_size", total_size}}}, {"weight_map", weight_map}}.dump(2) + "\n");
  index.Close();
}

}  // namespace fathom
