#include "ops/attention/attend_tasks.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "ops/cpu/dtype.h"
#include "ops/cpu/kernel_table.h"
#include "ops/cpu/parallel_rows.h"

namespace fathom::ops {
namespace {

constexpr int64_t kSplitMaxRows = 32;  // a task with more rows has enough work to leave its keys whole
constexpr int64_t kSplitKeys = 256;    // keys of a part
constexpr int64_t kMaxHeadWidth = 4096;

struct Task {
  int64_t sequence, key_head, first_head, num_heads, first_query, num_queries, part, num_parts;
};

// Memory of one thread, kept between calls.
struct Scratch {
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> memory;
  int64_t size = 0;
  std::vector<const void*> q_rows, q2_rows;
  std::vector<int32_t> row_begin, row_end, keys;
  std::vector<void*> out_rows;
  std::vector<float> out, max, sum;

  char* Reserve(int64_t bytes) {
    constexpr int64_t kAlignment = 64;
    if (bytes > size) {
      size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
      memory.reset(static_cast<char*>(std::aligned_alloc(kAlignment, size)));
      FATHOM_CHECK(memory != nullptr, "no memory for {} bytes of attention scratch", size);
    }
    return memory.get();
  }
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
      if (task.num_parts > 1) rows += Rows(task);
    }
    parts_out_.resize(rows * PaddedWidth(p_.dv));
    parts_max_.resize(rows);
    parts_sum_.resize(rows);
  }

  void Run() {
    ParallelTasks(static_cast<int64_t>(tasks_.size()), [&](int64_t i) { RunTask(i); });
    if (parts_max_.empty()) return;
    std::vector<int64_t> joined;  // the first task of each group of parts
    for (int64_t i = 0; i < static_cast<int64_t>(tasks_.size()); i += tasks_[i].num_parts) {
      if (tasks_[i].num_parts > 1) joined.push_back(i);
    }
    for (const int64_t i : joined) JoinParts(i);
  }

 private:
  static int64_t Rows(const Task& task) { return task.num_heads * task.num_queries; }

  void Plan(int64_t b) {
    const SequenceKeys& s = p_.sequences[b];
    const int64_t head_block = std::min(heads_per_key_, kAttendMaxRows);
    const int64_t query_block = p_.topk != nullptr ? 1 : std::max<int64_t>(1, kAttendMaxRows / head_block);
    for (int64_t first = 0; first < s.num_queries; first += query_block) {
      const int64_t queries = std::min(query_block, s.num_queries - first);
      for (int64_t g = 0; g < p_.num_key_heads; ++g) {
        for (int64_t h = 0; h < heads_per_key_; h += head_block) {
          const int64_t heads = std::min(head_block, heads_per_key_ - h);
          const int64_t keys = p_.topk != nullptr ? p_.topk_size : s.num_keys;
          const int64_t parts = queries * heads <= kSplitMaxRows ? std::max<int64_t>(1, (keys + kSplitKeys - 1) / kSplitKeys) : 1;
          for (int64_t part = 0; part < parts; ++part) {
            tasks_.push_back({b, g, g * heads_per_key_ + h, heads, first, queries, part, parts});
          }
        }
      }
    }
  }

  void RunTask(int64_t task_idx) {
    static thread_local Scratch scratch;
    const Task& task = tasks_[task_idx];
    const SequenceKeys& s = p_.sequences[task.sequence];
    const int64_t rows = Rows(task), width = PaddedWidth(p_.dv);
    AttendArgs args{};
    FillRows(task, s, &scratch);
    args.q_rows = scratch.q_rows.data();
    args.q2_rows = p_.q2.base != nullptr ? scratch.q2_rows.data() : nullptr;
    args.num_rows = rows;
    args.d1 = p_.d1;
    args.d2 = p_.d2;
    args.dv = p_.dv;
    args.k = s.k;
    args.v = s.v;
    args.k.base += task.key_head * s.k_head_stride;
    args.v.base += task.key_head * s.v_head_stride;
    args.scale = p_.scale;
    args.row_begin = scratch.row_begin.data();
    args.row_end = scratch.row_end.data();
    int64_t begin = scratch.row_begin.front(), end = scratch.row_end.back();
    if (p_.topk != nullptr) {
      ListKeys(task, s, &scratch);
      args.key_list = scratch.keys.data();
      begin = 0;
      end = static_cast<int64_t>(scratch.keys.size());
      scratch.row_begin.assign(rows, 0);
      scratch.row_end.assign(rows, static_cast<int32_t>(end));
    }
    args.key_begin = task.num_parts > 1 ? std::max(begin, task.part * kSplitKeys) : begin;
    args.key_end = task.num_parts > 1 ? std::min(end, (task.part + 1) * kSplitKeys) : end;
    args.scratch = scratch.Reserve(AttendScratchBytes(rows, p_.d1 + p_.d2, p_.dv));
    if (task.num_parts > 1) {
      args.out = parts_out_.data() + part_rows_[task_idx] * width;
      args.max = parts_max_.data() + part_rows_[task_idx];
      args.sum = parts_sum_.data() + part_rows_[task_idx];
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
      Finish(task, s, &out, &max, &sum, 1);
    }
  }

  // Row r of a task is query r / num_heads, head r % num_heads.
  void FillRows(const Task& task, const SequenceKeys& s, Scratch* scratch) const {
    scratch->q_rows.clear();
    scratch->q2_rows.clear();
    scratch->row_begin.clear();
    scratch->row_end.clear();
    for (int64_t i = task.first_query; i < task.first_query + task.num_queries; ++i) {
      const KeyRange range = VisibleRange(i, s.num_queries, s.num_keys, p_.window);
      for (int64_t h = task.first_head; h < task.first_head + task.num_heads; ++h) {
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
    std::vector<const float*> out, max, sum;
    for (int64_t i = first_task; i < first_task + task.num_parts; ++i) {
      out.push_back(parts_out_.data() + part_rows_[i] * PaddedWidth(p_.dv));
      max.push_back(parts_max_.data() + part_rows_[i]);
      sum.push_back(parts_sum_.data() + part_rows_[i]);
    }
    Finish(task, p_.sequences[task.sequence], out.data(), max.data(), sum.data(), task.num_parts);
  }

  void Finish(const Task& task, const SequenceKeys& s, const float* const* out, const float* const* max, const float* const* sum,
              int64_t num_parts) const {
    const int64_t rows = Rows(task), bytes = static_cast<int64_t>(c10::elementSize(p_.dtype));
    static thread_local Scratch scratch;
    scratch.out_rows.clear();
    for (int64_t r = 0; r < rows; ++r) scratch.out_rows.push_back(static_cast<char*>(p_.out) + OutRow(task, s, r) * p_.dv * bytes);
    scratch.max.resize(rows);
    scratch.sum.resize(rows);
    Kernels().finish[dtype_]({.parts_out = out, .parts_max = max, .parts_sum = sum, .num_parts = num_parts, .num_rows = rows, .dv = p_.dv,
                              .out_rows = scratch.out_rows.data(), .max = scratch.max.data(), .sum = scratch.sum.data()});
    if (p_.lse == nullptr) return;
    for (int64_t r = 0; r < rows; ++r) {
      p_.lse[OutRow(task, s, r)] = scratch.sum[r] == 0.0f ? -INFINITY : scratch.max[r] + std::log(scratch.sum[r]);
    }
  }

  int64_t OutRow(const Task& task, const SequenceKeys& s, int64_t r) const {
    return (s.first_query + task.first_query + r / task.num_heads) * p_.num_heads + task.first_head + r % task.num_heads;
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
