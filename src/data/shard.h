// A shard: the tokens of some documents, mapped from a file and checked whole when it is opened. Little endian.
//
//   0   magic "FATHOMTK"            8   u32 version (1)             12  u32 bytes of a token: 2 or 4
//   16  u64 tokens                  24  u64 documents               32  u64 hash of the tokenizer
//   40  u32 size of the vocabulary  44  u32 0                       48  u64 XXH3 of all that follows byte 64
//   56  u64 XXH3 of bytes 0..55
//   64  the tokens, zeros up to a multiple of 8, and for each document: u64 end of its tokens, u64 hash of its text, u64 bytes of its text
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace fathom {

// 64 bits of a text or of bytes (XXH3): which side of the held-out split it is on, checksums, fingerprints.
uint64_t HashBytes(std::string_view bytes, uint64_t seed = 0);
// As 16 hexadecimal digits.
std::string HexOf(uint64_t hash);

struct ShardDocument {
  uint64_t end = 0;        // of its tokens in the shard; the document before ends where it begins
  uint64_t text_hash = 0;
  uint64_t text_bytes = 0;
};

// A view of the bytes of a shard.
struct ShardView {
  uint32_t token_bytes = 2;
  uint64_t num_tokens = 0;
  uint64_t tokenizer_hash = 0;
  uint32_t vocab_size = 0;
  uint64_t checksum = 0;  // of the body
  const std::byte* tokens = nullptr;
  std::span<const ShardDocument> documents;

  uint64_t Begin(int64_t document) const { return document == 0 ? 0 : documents[static_cast<size_t>(document) - 1].end; }
  // Appends the tokens [begin, end) of the shard.
  void Append(uint64_t begin, uint64_t end, std::vector<int32_t>& out) const;
};

// Checks everything: sizes, checksums, that the documents' ends grow and that each token is of the vocabulary. `bytes` must be aligned to 8 and live on.
// Throws UserError "<what>: ..." with what is wrong.
ShardView ParseShard(std::span<const std::byte> bytes, const std::string& what);

class Shard {
 public:
  explicit Shard(const std::filesystem::path& path) : file_(path), view_(ParseShard(file_.bytes(), path.string())) {}
  const ShardView& view() const { return view_; }

 private:
  MappedFile file_;
  ShardView view_;
};

// Collects documents and writes them as one file.
class ShardWriter {
 public:
  ShardWriter(uint64_t tokenizer_hash, uint32_t vocab_size) : tokenizer_hash_(tokenizer_hash), vocab_size_(vocab_size) {}
  void Add(std::span<const int32_t> tokens, uint64_t text_hash, uint64_t text_bytes);
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_documents() const { return static_cast<int64_t>(documents_.size()); }
  // Writes the file atomically and begins anew; gives the body's checksum. Throws MachineError.
  uint64_t Write(const std::filesystem::path& path);

 private:
  uint32_t token_bytes() const { return vocab_size_ <= 65536 ? 2 : 4; }

  uint64_t tokenizer_hash_;
  uint32_t vocab_size_;
  int64_t num_tokens_ = 0;
  std::string body_;
  std::vector<ShardDocument> documents_;
};

}  // namespace fathom
