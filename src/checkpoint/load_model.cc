#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/free_memory.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/dtype_names.h"
#include "checkpoint/parallel_pieces.h"
#include "checkpoint/weight_source.h"
#include "model/placement.h"
#include "ops/cuda_backend.h"

namespace fathom {
namespace {

// Values of a weight that one thread converts at a time, in bytes of the model's type.
constexpr int64_t kLoadPieceBytes = 2 << 20;

bool KeepsFp8(const WeightSource& source, const ModelOptions& options) {
  return options.keep_fp8 && source.fp8_values != nullptr && source.spec.kind == WeightKind::kLinear;
}

// Weights that stay in a GGUF file's blocks. MLA's decode multiplies by parts of kv_b_proj, which dense values do faster.
std::map<std::string, ops::BlockFormat> KeptBlocks(const std::vector<WeightSource>& sources, const ModelOptions& options) {
  std::map<std::string, ops::BlockFormat> kept;
  if (!options.keep_ggml || options.dtype != at::kBFloat16 || !options.device.is_cpu()) return kept;
  for (const WeightSource& source : sources) {
    const WeightSpec& spec = source.spec;
    const bool is_matrix = spec.kind == WeightKind::kLinear || spec.kind == WeightKind::kEmbedding || spec.kind == WeightKind::kHead;
    const auto format = ops::BlockFormatOf(static_cast<int64_t>(source.block_type));
    if (is_matrix && source.read_blocks && format && !spec.keep_float32 && !spec.is_routed_expert && spec.role != WeightRole::kKvB)
      kept.emplace(spec.name, *format);
  }
  return kept;
}

// What a weight will take in the model's format.
int64_t NeededBytes(const WeightSource& source, const ModelOptions& options) {
  const int64_t numel = source.num_rows() * source.num_cols();
  if (options.block_formats.contains(source.spec.name)) return source.num_bytes;
  if (KeepsFp8(source, options)) return numel + source.fp8_scales->numel() * 4;
  return numel * static_cast<int64_t>(c10::elementSize(source.spec.keep_float32 ? at::kFloat : options.dtype));
}

void CheckMemory(const Checkpoint& checkpoint, const std::vector<WeightSource>& sources, const ModelOptions& options) {
  int64_t on_host = 0, on_device = 0;
  for (const WeightSource& source : sources) {
    (DeviceOfWeight(checkpoint.config, options, source.spec).is_cpu() ? on_host : on_device) += NeededBytes(source, options);
  }
  const auto gigabytes = [](auto bytes) { return static_cast<double>(bytes) / 1e9; };
  if (const int64_t available = FreeMemoryBytes(); on_host > available) {
    ThrowMachineError("not enough memory: the weights of {} take {:.2f} GB in {}, {:.2f} GB are free", checkpoint.path.string(), gigabytes(on_host),
                      TorchName(options.dtype), gigabytes(available));
  }
  if (on_device == 0) return;
  const FathomCudaTable* cuda = ops::CudaTable();
  size_t available = 0, total = 0;
  if (cuda == nullptr || cuda->memory_info(options.device.index(), &available, &total) != 0) return;
  if (static_cast<size_t>(on_device) > available) {
    ThrowMachineError("not enough memory on {}: the weights of {} take {:.2f} GB in {}, {:.2f} of {:.2f} GB are free; --gpu-layers N or --cpu-moe keeps "
                      "some on the CPU", options.device.str(), checkpoint.path.string(), gigabytes(on_device), TorchName(options.dtype),
                      gigabytes(available), gigabytes(total));
  }
}

struct Job {
  const WeightSource* source;
  WeightSlot slot;
};

struct Piece {
  size_t job_idx;
  int64_t row0, row1;
};

std::vector<Piece> CutIntoPieces(const std::vector<Job>& jobs) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const int64_t rows = jobs[i].source->num_rows(), row_bytes = std::max<int64_t>(1, jobs[i].source->num_cols() * 2);
    // FP8 weights are handed over whole.
    const int64_t step = !jobs[i].slot.set_fp8 ? std::max<int64_t>(1, kLoadPieceBytes / row_bytes) : std::max<int64_t>(1, rows);
    for (int64_t row = 0; row < rows; row += step) pieces.push_back({i, row, std::min(rows, row + step)});
  }
  return pieces;
}

void CopyBlocks(const Job& job, int64_t row0, int64_t row1) {
  auto* bytes = static_cast<std::byte*>(job.slot.blocks.data_ptr());
  job.source->read_blocks(row0, row1, bytes + row0 * job.slot.blocks.size(1));
  if (job.source->release) job.source->release(row0, row1);
}

void FillRows(const Job& job, int64_t row0, int64_t row1) {
  const WeightSource& source = *job.source;
  const int64_t cols = source.num_cols();
  if (cols == 0) return;
  const at::Tensor& values = job.slot.values;
  const at::ScalarType dtype = values.scalar_type();
  const bool is_direct = values.is_contiguous() && values.device().is_cpu();
  if (is_direct) {
    auto* bytes = static_cast<std::byte*>(values.data_ptr()) + row0 * cols * static_cast<int64_t>(values.element_size());
    if (source.read) source.read(row0, row1, bytes, dtype);
    else std::memset(bytes, 0, static_cast<size_t>((row1 - row0) * cols) * values.element_size());  // an optional weight's neutral value
  } else {
    at::Tensor staged = at::empty({row1 - row0, cols}, at::TensorOptions().dtype(dtype));
    if (source.read) source.read(row0, row1, staged.data_ptr(), dtype);
    else staged.zero_();
    values.view({source.num_rows(), cols}).narrow(0, row0, row1 - row0).copy_(staged);
  }
  if (source.release) source.release(row0, row1);
}

void HandOverFp8(const Job& job, std::mutex& mutex) {
  const WeightSource& source = *job.source;
  FATHOM_USER_CHECK(source.fp8_values != nullptr, "tensor {} is {}: only FP8 blocks with their scales can be kept in FP8", source.spec.name, source.dtype_name);
  const at::Tensor values = ReadTensor(*source.fp8_values, at::ScalarType::Undefined), scales = ReadTensor(*source.fp8_scales, at::kFloat);
  ReleaseRows(*source.fp8_values, 0, source.fp8_values->num_rows());
  const std::lock_guard lock(mutex);
  job.slot.set_fp8(values, scales);
}

}  // namespace

bool HasFp8Blocks(const Checkpoint& checkpoint) {
  if (!checkpoint.config.quantization) return false;
  const std::vector<WeightSource> sources = FindSources(checkpoint);
  return std::all_of(sources.begin(), sources.end(),
                     [](const WeightSource& source) { return !IsFp8Matrix(source.spec) || !source.spec.tied_to.empty() || source.fp8_values != nullptr; });
}

std::unique_ptr<Model> LoadModel(const Checkpoint& checkpoint, const ModelOptions& asked) {
  const std::vector<WeightSource> sources = FindSources(checkpoint);
  ModelOptions options = asked;
  options.block_formats = KeptBlocks(sources, asked);
  CheckMemory(checkpoint, sources, options);
  std::map<std::string_view, const WeightSource*> by_name;
  for (const WeightSource& source : sources) by_name[source.spec.name] = &source;

  auto model = std::make_unique<Model>(checkpoint.config, options);
  std::vector<Job> jobs;
  model->ForEachWeight([&](const WeightSpec& spec, WeightSlot& slot) {
    const auto found = by_name.find(spec.name);
    FATHOM_CHECK(found != by_name.end(), "weight {} is in no list", spec.name);
    jobs.push_back({found->second, slot});
  });
  FATHOM_CHECK(jobs.size() == sources.size(), "{} weights in the model, {} in the table", jobs.size(), sources.size());
  const std::vector<Piece> pieces = CutIntoPieces(jobs);
  std::mutex fp8_mutex;
  ForEachPiece(std::ssize(pieces), [&](int64_t i) {
    const Piece& piece = pieces[static_cast<size_t>(i)];
    const Job& job = jobs[piece.job_idx];
    if (job.slot.blocks.defined()) CopyBlocks(job, piece.row0, piece.row1);
    else if (job.slot.values.defined()) FillRows(job, piece.row0, piece.row1);
    else HandOverFp8(job, fp8_mutex);
  });
  return model;
}

}  // namespace fathom
