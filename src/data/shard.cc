#include "data/shard.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace fathom {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little endian, and mapped as they are");

constexpr char kMagic[] = "FATHOMTK";
constexpr uint32_t kVersion = 1;

struct Header {
  char magic[8];
  uint32_t version, token_bytes;
  uint64_t num_tokens, num_documents, tokenizer_hash;
  uint32_t vocab_size, zero;
  uint64_t body_checksum, header_checksum;
};
static_assert(sizeof(Header) == 64 && sizeof(ShardDocument) == 24);
constexpr size_t kCheckedHeader = 56;

std::string_view Chars(const void* data, size_t size) { return {static_cast<const char*>(data), size}; }

uint64_t PaddedTo8(uint64_t size) { return (size + 7) / 8 * 8; }

template <typename T>
uint64_t LargestToken(const std::byte* tokens, uint64_t count) {
  const T* const values = reinterpret_cast<const T*>(tokens);
  T largest = 0;
  for (uint64_t i = 0; i < count; ++i) largest = std::max(largest, values[i]);
  return largest;
}

}  // namespace

uint64_t HashBytes(std::string_view bytes, uint64_t seed) { return ::XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }
std::string HexOf(uint64_t hash) { return fmt::format("{:016x}", hash); }

void ShardView::Append(uint64_t begin, uint64_t end, std::vector<int32_t>& out) const {
  const auto append = [&](const auto* values) { out.insert(out.end(), values + begin, values + end); };
  if (token_bytes == 2) append(reinterpret_cast<const uint16_t*>(tokens));
  else append(reinterpret_cast<const uint32_t*>(tokens));
}

ShardView ParseShard(std::span<const std::byte> bytes, const std::string& what) {
  Header header{};
  FATHOM_USER_CHECK(bytes.size() >= sizeof header, "{}: {} bytes are too few for a shard's header", what, bytes.size());
  std::memcpy(&header, bytes.data(), sizeof header);
  FATHOM_USER_CHECK(std::memcmp(header.magic, kMagic, 8) == 0, "{}: is no shard of tokens", what);
  FATHOM_USER_CHECK(header.version == kVersion, "{}: has version {} of the format, {} is read", what, header.version, kVersion);
  FATHOM_USER_CHECK(HashBytes(Chars(bytes.data(), kCheckedHeader)) == header.header_checksum, "{}: the header does not fit its checksum", what);
  FATHOM_USER_CHECK((header.token_bytes == 2 || header.token_bytes == 4) && header.zero == 0 && header.vocab_size > 0 && header.vocab_size <= INT32_MAX,
                    "{}: the header says {} bytes a token and {} tokens in the vocabulary", what, header.token_bytes, header.vocab_size);
  const uint64_t room = bytes.size() - sizeof header;
  FATHOM_USER_CHECK(header.num_tokens <= room / header.token_bytes && header.num_documents <= room / sizeof(ShardDocument) &&
                        PaddedTo8(header.num_tokens * header.token_bytes) + header.num_documents * sizeof(ShardDocument) == room,
                    "{}: has {} bytes, which {} tokens and {} documents do not fill", what, bytes.size(), header.num_tokens, header.num_documents);
  FATHOM_USER_CHECK(HashBytes(Chars(bytes.data() + sizeof header, room)) == header.body_checksum, "{}: is damaged: its tokens do not fit their checksum", what);
  ShardView view{.token_bytes = header.token_bytes,
                 .num_tokens = header.num_tokens,
                 .tokenizer_hash = header.tokenizer_hash,
                 .vocab_size = header.vocab_size,
                 .checksum = header.body_checksum,
                 .tokens = bytes.data() + sizeof header,
                 .documents = {}};
  const auto* const table = reinterpret_cast<const ShardDocument*>(view.tokens + PaddedTo8(header.num_tokens * header.token_bytes));
  view.documents = {table, static_cast<size_t>(header.num_documents)};
  uint64_t end = 0;
  for (const ShardDocument& document : view.documents) {
    FATHOM_USER_CHECK(document.end > end && document.end <= header.num_tokens, "{}: document {} ends at token {} of {}, the one before at {}", what,
                      &document - table, document.end, header.num_tokens, end);
    end = document.end;
  }
  FATHOM_USER_CHECK(end == header.num_tokens, "{}: its documents end at token {} of {}", what, end, header.num_tokens);
  const uint64_t largest = view.token_bytes == 2 ? LargestToken<uint16_t>(view.tokens, view.num_tokens) : LargestToken<uint32_t>(view.tokens, view.num_tokens);
  FATHOM_USER_CHECK(largest < header.vocab_size, "{}: has the token {}, the vocabulary has {}", what, largest, header.vocab_size);
  return view;
}

void ShardWriter::Add(std::span<const int32_t> tokens, uint64_t text_hash, uint64_t text_bytes) {
  FATHOM_CHECK(!tokens.empty(), "a document without tokens");
  const size_t start = body_.size();
  body_.resize(start + tokens.size() * token_bytes());
  char* out = body_.data() + start;
  for (const int32_t token : tokens) {
    FATHOM_CHECK(token >= 0 && static_cast<uint32_t>(token) < vocab_size_, "token {} of a vocabulary of {}", token, vocab_size_);
    std::memcpy(out, &token, token_bytes());
    out += token_bytes();
  }
  num_tokens_ += std::ssize(tokens);
  documents_.push_back({static_cast<uint64_t>(num_tokens_), text_hash, text_bytes});
}

uint64_t ShardWriter::Write(const std::filesystem::path& path) {
  body_.resize(PaddedTo8(body_.size()));
  body_.append(reinterpret_cast<const char*>(documents_.data()), documents_.size() * sizeof(ShardDocument));
  Header header{};
  std::memcpy(header.magic, kMagic, 8);
  header.version = kVersion;
  header.token_bytes = token_bytes();
  header.num_tokens = static_cast<uint64_t>(num_tokens_);
  header.num_documents = documents_.size();
  header.tokenizer_hash = tokenizer_hash_;
  header.vocab_size = vocab_size_;
  header.body_checksum = HashBytes(body_);
  header.header_checksum = HashBytes(Chars(&header, kCheckedHeader));
  const std::string_view pieces[] = {Chars(&header, sizeof header), body_};
  WriteFileAtomically(path, pieces);
  num_tokens_ = 0;
  body_.clear();
  documents_.clear();
  return header.body_checksum;
}

}  // namespace fathom
