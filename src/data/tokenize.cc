#include "data/tokenize.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/gguf.h"
#include "base/interrupted.h"
#include "base/log.h"
#include "base/progress_bar.h"
#include "base/utf8.h"
#include "data/record_blocks.h"
#include "data/ordered_work.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxRejectedText = 1 << 20;  // what rejects.jsonl keeps of a line

// One process fills a folder at a time.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) : fd_(::open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (fd_ < 0) ThrowMachineError("cannot create {}: {}", (folder / ".lock").string(), std::strerror(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd_);
      ThrowUserError("{}: another run is writing it", folder.string());
    }
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

// rejects.jsonl, cut back to what belongs to finished shards.
class RejectsFile {
 public:
  RejectsFile(const fs::path& path, int64_t keep) : path_(path.string()), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), size_(keep) {
    if (fd_ < 0 || ::ftruncate(fd_, keep) != 0 || ::lseek(fd_, keep, SEEK_SET) != keep) Fail();
  }
  ~RejectsFile() { if (fd_ >= 0) ::close(fd_); }
  RejectsFile(const RejectsFile&) = delete;
  RejectsFile& operator=(const RejectsFile&) = delete;

  void Add(const std::string& file, int64_t line, const std::string& reason, std::string_view text) {
    const bool cut = text.size() > kMaxRejectedText;
    OrderedJson json = {{"file", file}, {"line", line}, {"reason", reason}, {"text", ReplaceInvalidUtf8(std::string(text.substr(0, kMaxRejectedText)))}};
    if (cut) json["bytes"] = text.size();
    const std::string out = json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    for (size_t done = 0; done < out.size();) {
      const ssize_t put = ::write(fd_, out.data() + done, out.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) Fail();
      done += static_cast<size_t>(put);
    }
    size_ += std::ssize(out);
  }
  int64_t size() const { return size_; }
  void Sync() {
    if (::fsync(fd_) != 0) Fail();
  }

 private:
  [[noreturn]] void Fail() const { ThrowMachineError("cannot write {}: {}", path_, std::strerror(errno)); }

  std::string path_;
  int fd_;
  int64_t size_;
};

struct TokenizedRecord {
  std::vector<int32_t> tokens;
  uint64_t text_hash = 0;
  int64_t text_bytes = 0;
  int64_t number = 0;
  std::string problem, rejected;  // why it is put aside, and what
};

struct TokenizedBlock {
  int64_t file_idx = 0;
  std::vector<TokenizedRecord> records;
  bool ends_file = false;
  int64_t bytes_read = 0;
};

TokenizedRecord TokenizeRecord(Record record, const Tokenizer& tokenizer, const std::string& text_field) {
  TokenizedRecord out;
  out.number = record.number;
  const auto text = TextOf(record, text_field, out.problem);
  if (!text) {
    out.rejected = std::move(record.bytes);
    if (out.rejected.size() > kMaxRejectedText + 1) out.rejected.shrink_to_fit();
    return out;
  }
  out.text_hash = HashBytes(*text);
  out.text_bytes = std::ssize(*text);
  out.tokens = tokenizer.Encode(*text, {.add_bos = false, .match_special = false});
  return out;
}

bool SameInputs(const std::vector<InputFile>& a, const std::vector<InputFile>& b, std::string& which) {
  const auto same = [](const InputFile& x, const InputFile& y) { return x.path == y.path && x.num_bytes == y.num_bytes && x.modified_ns == y.modified_ns; };
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    if (i < a.size() && i < b.size() && same(a[i], b[i])) continue;
    which = (i < b.size() ? b[i] : a[i]).path.string();
    return false;
  }
  return true;
}

// The index of a corpus that was begun there, or of a new one.
CorpusIndex StartOrGoOn(const SourceSpec& source, const TokenizerFile& tokenizer, const fs::path& folder, int64_t shard_tokens) {
  const fs::path path = folder / kCorpusIndex;
  const bool begun = fs::exists(path);
  CorpusIndex fresh{.tokenizer_hash = tokenizer.hash, .vocab_size = tokenizer.tokenizer->vocab_size(), .text_field = source.text_field, .unit = source.unit,
                    .shard_tokens = shard_tokens};
  std::optional<CorpusIndex> found;
  if (begun) {
    found = ParseCorpusIndex(ReadFile(path), path.string());
    FATHOM_USER_CHECK(found->tokenizer_hash == fresh.tokenizer_hash && found->vocab_size == fresh.vocab_size,
                      "{}: was tokenised with another tokenizer; remove it or choose another folder", folder.string());
    FATHOM_USER_CHECK(found->text_field == fresh.text_field && found->unit == fresh.unit,
                      "{}: was tokenised with the text field '{}' and documents '{}', not '{}' and '{}'; remove it or choose another folder", folder.string(),
                      found->text_field, NameOf(found->unit), fresh.text_field, NameOf(fresh.unit));
  }
  try {
    fresh.inputs = ListInputFiles(source.paths);
  } catch (const UserError& error) {
    if (!found || !found->complete) throw;
    LogInfo("{}: {}; its tokens in {} are used", source.name, error.what(), folder.string());
    return *found;
  }
  if (!found) return fresh;
  std::string which;
  FATHOM_USER_CHECK(SameInputs(found->inputs, fresh.inputs, which), "{}: was tokenised from other files: {} has changed, come or gone since; remove it or choose another folder",
                    folder.string(), which);
  found->shard_tokens = std::max<int64_t>(1, found->shard_tokens);
  return *found;
}

void CheckFolder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) ThrowMachineError("cannot create {}: {}", folder.string(), error.message());
  if (fs::exists(folder / kCorpusIndex)) return;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    FATHOM_USER_CHECK(name == ".lock" || name == kRejectsFile || name.starts_with("shard-") || name.starts_with(kCorpusIndex), "{} is not empty and has no {}: choose a new folder", folder.string(), kCorpusIndex);
  }
}

// What a run that was killed while it wrote left behind.
void RemoveTornFiles(const fs::path& folder) {
  std::vector<fs::path> torn;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().find(".tmp") != std::string::npos) torn.push_back(entry.path());
  std::error_code ignored;
  for (const fs::path& path : torn) fs::remove(path, ignored);
}

// The consumer: takes tokenised blocks in order, fills shards, keeps the index.
class CorpusWriter {
 public:
  CorpusWriter(CorpusIndex index, fs::path folder, const TokenizeOptions& options)
      : index_(std::move(index)), folder_(std::move(folder)), options_(options), shard_(index_.tokenizer_hash, static_cast<uint32_t>(index_.vocab_size)),
        rejects_(folder_ / kRejectsFile, index_.rejects_bytes) {}

  void Take(const TokenizedBlock& block) {
    if (block.file_idx != file_idx_) record_ = 0;
    if (file_idx_ < 0) record_ = block.file_idx == index_.next_file ? index_.next_record : 0;
    file_idx_ = block.file_idx;
    for (const TokenizedRecord& record : block.records) {
      ++record_;
      if (!record.problem.empty()) {
        rejects_.Add(index_.inputs[static_cast<size_t>(file_idx_)].path.string(), record.number, record.problem, record.rejected);
        ++num_rejected_;
      } else if (record.tokens.empty()) {
        ++num_empty_;
      } else {
        shard_.Add(record.tokens, record.text_hash, static_cast<uint64_t>(record.text_bytes));
        num_bytes_ += record.text_bytes;
        if (shard_.num_tokens() >= index_.shard_tokens) FinishShard();
      }
    }
    ThrowIfStopped(options_.stop, "tokenising stopped; run it again and it goes on behind the last whole shard");
  }

  CorpusIndex Finish() {
    if (shard_.num_documents() > 0) FinishShard();
    index_.complete = true;
    index_.next_file = std::ssize(index_.inputs);
    index_.next_record = 0;
    Commit();
    return index_;
  }
  int64_t num_tokens() const { return index_.num_tokens() + shard_.num_tokens(); }

 private:
  void FinishShard() {
    ShardEntry entry{.file = fmt::format("shard-{:05}.tokens", index_.shards.size()), .num_documents = shard_.num_documents(), .num_tokens = shard_.num_tokens(),
                     .num_bytes = std::exchange(num_bytes_, 0)};
    entry.checksum = shard_.Write(folder_ / entry.file);
    index_.shards.push_back(std::move(entry));
    index_.next_file = file_idx_;
    index_.next_record = record_;
    Commit();
  }
  void Commit() {
    rejects_.Sync();
    index_.num_rejected += std::exchange(num_rejected_, 0);
    index_.num_empty += std::exchange(num_empty_, 0);
    index_.rejects_bytes = rejects_.size();
    WriteFileAtomically(folder_ / kCorpusIndex, DumpCorpusIndex(index_));
  }

  CorpusIndex index_;
  fs::path folder_;
  const TokenizeOptions& options_;
  ShardWriter shard_;
  RejectsFile rejects_;
  int64_t file_idx_ = -1, record_ = 0;  // records of the file that are done
  int64_t num_bytes_ = 0, num_rejected_ = 0, num_empty_ = 0;  // since the last commit
};

}  // namespace

TokenizerFile LoadTokenizerFile(const fs::path& path) {
  TokenizerFile out{.tokenizer = Tokenizer::Load(path)};
  const fs::path file = fs::is_directory(path) ? path / "tokenizer.json" : path;
  const MappedFile mapped(file);
  const std::string_view bytes(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  out.hash = HashBytes(IsGguf(mapped.bytes()) ? bytes.substr(0, ParseGgufHeader(mapped.bytes(), file.string()).data_offset) : bytes);
  return out;
}

CorpusIndex TokenizeSource(const SourceSpec& source, const TokenizerFile& tokenizer, const fs::path& folder, const TokenizeOptions& options) {
  CheckFolder(folder);
  const FolderLock lock(folder);
  CorpusIndex index = StartOrGoOn(source, tokenizer, folder, options.shard_tokens);
  if (index.complete) return index;
  RemoveTornFiles(folder);
  RecordBlocks blocks(index.inputs, index.unit, index.text_field, index.next_file, index.next_record);
  CorpusWriter writer(index, folder, options);
  ProgressBar bar("tokenizing " + source.name, blocks.total_bytes(), options.show_progress);
  const auto start = std::chrono::steady_clock::now();
  RunOrdered(
      options.num_threads, [&] { return blocks.Next(); },
      [&](RecordBlock block, int) {
        TokenizedBlock out{.file_idx = block.file_idx, .records = {}, .ends_file = block.ends_file, .bytes_read = block.bytes_read};
        out.records.reserve(block.records.size());
        for (Record& record : block.records) out.records.push_back(TokenizeRecord(std::move(record), *tokenizer.tokenizer, index.text_field));
        return out;
      },
      [&](const TokenizedBlock& block) {
        writer.Take(block);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        bar.Update(block.bytes_read, fmt::format("{:.1f}M tokens, {:.1f} MB/s", 1e-6 * static_cast<double>(writer.num_tokens()), 1e-6 * static_cast<double>(block.bytes_read) / seconds));
      });
  return writer.Finish();
}

}  // namespace fathom
