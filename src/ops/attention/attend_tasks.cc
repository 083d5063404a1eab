#include "ops/attention/attend_tasks.h"

#include <algorithm>
#include <cmath>

#include "ops/cpu/dtype.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/parallel_rows.h"
#include "ops/cpu/scratch.h"

namespace fathom::ops {
namespace {

constexpr int64_t kSplitMaxRows = 32;  // queries times heads of a key head: with more there is enough work to leave the keys whole
constexpr int64_t kMaxParts = 16;
constexpr int64_t kMaxHeadWidth = 4096;

// Query rows of one key head on all their keys; or, with parts (decode), of all key heads on one part of the keys, so that a part is
// read from memory once and in order.
struct Task {
  int64_t sequence, first_key_head, num_key_heads, first_head, num_heads, first_query, num_queries, part, num_parts, part_keys;
};

// Keys of a part; it depends on the sequence alone, so that its results do too.
int64_t PartKeys(int64_t num_keys) {
  const int64_t least = (num_keys + kMaxParts - 1) / kMaxParts;
  return std::max<int64_t>(1, (least + kAttendBlockKeys - 1) / kAttendBlockKeys) * kAttendBlockKeys;
}

// Memory of one thread, kept between calls.
struct Scratch {
  ScratchMemory memory;
  std::vector<const void*> q_rows, q2_rows;
  std::vector<int32_t> row_begin, row_end, keys;
  std::vector<void*> out_rows;
  std::vector<float> out, max, sum;
};

class Runner {
 public:
  explicit Runner(const AttendProblem& problem) : p_(problem), heads_per_key_(p_.num_heads / p_.num_key_heads), dtype_(KernelDtypeOf(p_.dtype)) {
    FATHOM_CHECK(p_.d1 + p_.d2 <= kMaxHeadWidth, "attention: heads of {} values; at most {}", p_.d1 + p_.d2, kMaxHeadWidth);
    for (int64_t b = 0; b < static_cast<int64_t>(p_.sequences.size()); ++b) Plan(b);
    // Later queries see more keys: the longest tasks first keep the threads busy to the end.
    std::reverse(tasks_.begin(), tasks_.end());
    int64_t rows = 0;
    for (const Task& task : tasks_) {
      part_rows_.push_back(rows);
      if (task.num_parts > 1) rows += Rows(task) * task.num_key_heads;
    }
    parts_out_.resize(rows * PaddedWidth(p_.dv));
    parts_max_.resize(rows);
    parts_sum_.resize(rows);
  }

  void Run() {
    ParallelTasks(static_cast<int64_t>(tasks_.size()), [&](int64_t i) { RunTask(i); });
    if (parts_max_.empty()) return;
    for (int64_t i = 0; i < static_cast<int64_t>(tasks_.size()); i += tasks_[i].num_parts) {
      if (tasks_[i].num_parts > 1) JoinParts(i);
    }
  }

 private:
  // Of one key head.
  static int64_t Rows(const Task& task) { return task.num_heads * task.num_queries; }

  void Plan(int64_t b) {
    const SequenceKeys& s = p_.sequences[b];
    const int64_t head_block = std::min(heads_per_key_, kAttendMaxRows);
    const int64_t query_block = p_.topk != nullptr ? 1 : std::max<int64_t>(1, kAttendMaxRows / head_block);
    for (int64_t first = 0; first < s.num_queries; first += query_block) {
      const int64_t queries = std::min(query_block, s.num_queries - first);
      const int64_t keys = p_.topk != nullptr ? p_.topk_size : s.num_keys, part_keys = PartKeys(keys), parts = (keys + part_keys - 1) / part_keys;
      if (queries * heads_per_key_ <= kSplitMaxRows && parts > 1) {
        for (int64_t part = 0; part < parts; ++part) {
          tasks_.push_back({b, 0, p_.num_key_heads, 0, heads_per_key_, first, queries, part, parts, part_keys});
        }
        continue;
      }
      for (int64_t g = 0; g < p_.num_key_heads; ++g) {
        for (int64_t h = 0; h < heads_per_key_; h += head_block) {
          tasks_.push_back({b, g, 1, g * heads_per_key_ + h, std::min(head_block, heads_per_key_ - h), first, queries, 0, 1, keys});
        }
      }
    }
  }

  void RunTask(int64_t task_idx) {
    const Task& task = tasks_[task_idx];
    if (task.num_parts > 1) PrefetchPart(task);
    for (int64_t i = 0; i < task.num_key_heads; ++i) RunKeyHead(task, task_idx, i);
  }

  // Asks for the part's rows of all key heads in the order of memory, before the heads are visited one by one.
  void PrefetchPart(const Task& task) const {
    if (p_.topk != nullptr) return;
    const SequenceKeys& s = p_.sequences[task.sequence];
    const int64_t bytes = static_cast<int64_t>(c10::elementSize(p_.dtype)), end = std::min(s.num_keys, (task.part + 1) * task.part_keys);
    const auto prefetch = [](const char* row, int64_t size) {
      for (int64_t i = 0; i < size; i += 64) __builtin_prefetch(row + i, 0, 2);
    };
    for (int64_t j = task.part * task.part_keys; j < end; ++j) {
      prefetch(s.k.Row(j), (p_.num_key_heads - 1) * s.k_head_stride + (p_.d1 + p_.d2) * bytes);
      if (s.v.base != s.k.base) prefetch(s.v.Row(j), (p_.num_key_heads - 1) * s.v_head_stride + p_.dv * bytes);
    }
  }

  void RunKeyHead(const Task& task, int64_t task_idx, int64_t key_head_idx) {
    static thread_local Scratch scratch;
    const SequenceKeys& s = p_.sequences[task.sequence];
    const int64_t rows = Rows(task), width = PaddedWidth(p_.dv), key_head = task.first_key_head + key_head_idx;
    const int64_t first_head = FirstHead(task, key_head_idx);
    AttendArgs args{};
    FillRows(task, first_head, s, &scratch);
    args.q_rows = scratch.q_rows.data();
    args.q2_rows = p_.q2.base != nullptr ? scratch.q2_rows.data() : nullptr;
    args.num_rows = rows;
    args.d1 = p_.d1;
    args.d2 = p_.d2;
    args.dv = p_.dv;
    args.k = s.k;
    args.v = s.v;
    args.k.base += key_head * s.k_head_stride;
    args.v.base += key_head * s.v_head_stride;
    args.scale = p_.scale;
    int64_t begin = scratch.row_begin.front(), end = scratch.row_end.back();
    if (p_.topk != nullptr) {
      ListKeys(task, s, &scratch);
      args.key_list = scratch.keys.data();
      begin = 0;
      end = static_cast<int64_t>(scratch.keys.size());
      scratch.row_begin.assign(rows, 0);
      scratch.row_end.assign(rows, static_cast<int32_t>(end));
    }
    args.row_begin = scratch.row_begin.data();
    args.row_end = scratch.row_end.data();
    args.key_begin = std::max(begin, task.part * task.part_keys);
    args.key_end = std::min(end, (task.part + 1) * task.part_keys);
    args.scratch = scratch.memory.Reserve(AttendScratchBytes(rows, p_.d1 + p_.d2, p_.dv));
    if (task.num_parts > 1) {
      const int64_t part_row = part_rows_[task_idx] + key_head_idx * rows;
      args.out = parts_out_.data() + part_row * width;
      args.max = parts_max_.data() + part_row;
      args.sum = parts_sum_.data() + part_row;
    } else {
      scratch.out.resize(rows * width);
      scratch.max.resize(rows);
      scratch.sum.resize(rows);
      args.out = scratch.out.data();
      args.max = scratch.max.data();
      args.sum = scratch.sum.data();
    }
    Kernels().attend[dtype_](args);
    if (task.num_parts == 1) {
      const float *out = args.out, *max = args.max, *sum = args.sum;
      Finish(task, first_head, s, &out, &max, &sum, 1);
    }
  }

  int64_t FirstHead(const Task& task, int64_t key_head_idx) const { return task.first_head + key_head_idx * heads_per_key_; }

  // Row r of a task is query r / num_heads, head r % num_heads.
  void FillRows(const Task& task, int64_t first_head, const SequenceKeys& s, Scratch* scratch) const {
    scratch->q_rows.clear();
    scratch->q2_rows.clear();
    scratch->row_begin.clear();
    scratch->row_end.clear();
    for (int64_t i = task.first_query; i < task.first_query + task.num_queries; ++i) {
      const KeyRange range = VisibleRange(i, s.num_queries, s.num_keys, p_.window);
      for (int64_t h = first_head; h < first_head + task.num_heads; ++h) {
        scratch->q_rows.push_back(p_.q.Row(s.first_query + i, h));
        if (p_.q2.base != nullptr) scratch->q2_rows.push_back(p_.q2.Row(s.first_query + i, h));
        scratch->row_begin.push_back(static_cast<int32_t>(range.begin));
        scratch->row_end.push_back(static_cast<int32_t>(range.end));
      }
    }
  }

  void ListKeys(const Task& task, const SequenceKeys& s, Scratch* scratch) const {
    const KeyRange range = VisibleRange(task.first_query, s.num_queries, s.num_keys, p_.window);
    const int32_t* list = p_.topk + (s.first_query + task.first_query) * p_.topk_size;
    scratch->keys.clear();
    for (int64_t i = 0; i < p_.topk_size; ++i) {
      if (list[i] >= range.begin && list[i] < range.end) scratch->keys.push_back(list[i]);
    }
  }

  void JoinParts(int64_t first_task) {
    const Task& task = tasks_[first_task];
    for (int64_t g = 0; g < task.num_key_heads; ++g) {
      const float *out[kMaxParts], *max[kMaxParts], *sum[kMaxParts];
      for (int64_t part = 0; part < task.num_parts; ++part) {
        const int64_t row = part_rows_[first_task + part] + g * Rows(task);
        out[part] = parts_out_.data() + row * PaddedWidth(p_.dv);
        max[part] = parts_max_.data() + row;
        sum[part] = parts_sum_.data() + row;
      }
      Finish(task, FirstHead(task, g), p_.sequences[task.sequence], out, max, sum, task.num_parts);
    }
  }

  void Finish(const Task& task, int64_t first_head, const SequenceKeys& s, const float* const* out, const float* const* max, const float* const* sum,
              int64_t num_parts) const {
    const int64_t rows = Rows(task), bytes = static_cast<int64_t>(c10::elementSize(p_.dtype));
    static thread_local Scratch scratch;
    scratch.out_rows.clear();
    for (int64_t r = 0; r < rows; ++r) scratch.out_rows.push_back(static_cast<char*>(p_.out) + OutRow(task, first_head, s, r) * p_.dv * bytes);
    scratch.max.resize(rows);
    scratch.sum.resize(rows);
    Kernels().finish[dtype_]({.parts_out = out, .parts_max = max, .parts_sum = sum, .num_parts = num_parts, .num_rows = rows, .dv = p_.dv,
                              .out_rows = scratch.out_rows.data(), .max = scratch.max.data(), .sum = scratch.sum.data()});
    if (p_.lse == nullptr) return;
    for (int64_t r = 0; r < rows; ++r) {
      p_.lse[OutRow(task, first_head, s, r)] = scratch.sum[r] == 0.0f ? -INFINITY : scratch.max[r] + std::log(scratch.sum[r]);
    }
  }

  int64_t OutRow(const Task& task, int64_t first_head, const SequenceKeys& s, int64_t r) const {
    return (s.first_query + task.first_query + r / task.num_heads) * p_.num_heads + first_head + r % task.num_heads;
  }

  const AttendProblem& p_;
  const int64_t heads_per_key_;
  const KernelDtype dtype_;
  std::vector<Task> tasks_;
  std::vector<int64_t> part_rows_;  // where a task's part begins in parts_*
  std::vector<float> parts_out_, parts_max_, parts_sum_;
};

}  // namespace

void Attend(const AttendProblem& problem) { Runner(problem).Run(); }

}  // namespace fathom::ops
