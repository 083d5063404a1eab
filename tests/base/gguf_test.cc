#include "base/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "base/error.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Writes the format by hand, so that a test can lie in any field.
struct GgufBytes {
  std::string bytes;

  template <typename T>
  GgufBytes& Put(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBytes& Text(const std::string& text) {
    Put<uint64_t>(text.size());
    bytes += text;
    return *this;
  }
  GgufBytes& Head(uint64_t num_tensors, uint64_t num_keys, uint32_t version = 3) {
    bytes += "GGUF";
    return Put(version).Put(num_tensors).Put(num_keys);
  }
  GgufBytes& Key(const std::string& key, uint32_t type) { return Text(key).Put(type); }
  GgufBytes& Tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    Text(name).Put<uint32_t>(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) Put(dim);
    return Put(type).Put(offset);
  }
};

GgufHeader Parse(const GgufBytes& file) { return ParseGgufHeader(std::as_bytes(std::span(file.bytes)), "m.gguf"); }

std::string ErrorOf(const GgufBytes& file) {
  try {
    Parse(file);
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

TEST(Gguf, ReadsEveryValueTypeOfAHeader) {
  GgufBytes file;
  file.Head(0, 14);
  file.Key("u8", 0).Put<uint8_t>(200).Key("i8", 1).Put<int8_t>(-5).Key("u16", 2).Put<uint16_t>(65535);
  file.Key("i16", 3).Put<int16_t>(-3).Key("u32", 4).Put<uint32_t>(4000000000u).Key("i32", 5).Put<int32_t>(-7);
  file.Key("f32", 6).Put<float>(0.5f).Key("bool", 7).Put<uint8_t>(1).Key("str", 8).Text("a\0b");
  file.Key("u64", 10).Put<uint64_t>(1ull << 40).Key("i64", 11).Put<int64_t>(-(1ll << 40)).Key("f64", 12).Put<double>(1e300);
  file.Key("words", 9).Put<uint32_t>(8).Put<uint64_t>(2).Text("x").Text("");
  file.Key("types", 9).Put<uint32_t>(5).Put<uint64_t>(3).Put<int32_t>(1).Put<int32_t>(-2).Put<int32_t>(3);
  const GgufHeader header = Parse(file);
  EXPECT_EQ(header.version, 3u);
  EXPECT_EQ(header.GetInt("u8"), 200);
  EXPECT_EQ(header.GetInt("i8"), -5);
  EXPECT_EQ(header.GetInt("u16"), 65535);
  EXPECT_EQ(header.GetInt("i16"), -3);
  EXPECT_EQ(header.GetInt("u32"), 4000000000);
  EXPECT_EQ(header.GetInt("i32"), -7);
  EXPECT_EQ(header.GetFloat("f32"), 0.5);
  EXPECT_EQ(std::get<bool>(*header.Find("bool")), true);
  EXPECT_EQ(header.GetString("str"), "a");
  EXPECT_EQ(header.GetInt("u64"), 1ll << 40);
  EXPECT_EQ(header.GetInt("i64"), -(1ll << 40));
  EXPECT_EQ(header.GetFloat("f64"), 1e300);
  EXPECT_THAT(header.GetStrings("words"), ElementsAre("x", ""));
  EXPECT_THAT(header.GetInts("types"), ElementsAre(1, -2, 3));
  EXPECT_EQ(header.Find("absent"), nullptr);
}

TEST(Gguf, TurnsShapesAroundAndPadsTheDataSection) {
  GgufBytes file;
  file.Head(2, 1, 2).Key("general.alignment", 4).Put<uint32_t>(64);
  file.Tensor("a", {3, 5, 7}, 0, 0).Tensor("b", {}, 8, 448);
  const GgufHeader header = Parse(file);
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(7, 5, 3));
  EXPECT_EQ(header.tensors[1].type, 8u);
  EXPECT_EQ(header.tensors[1].offset, 448u);
  EXPECT_EQ(header.data_offset % 64, 0u);
  EXPECT_GE(header.data_offset, file.bytes.size());
  EXPECT_LT(header.data_offset, file.bytes.size() + 64);
}

TEST(Gguf, RefusesEveryPrefixOfAFile) {
  GgufBytes file;
  file.Head(1, 2).Key("k", 9).Put<uint32_t>(8).Put<uint64_t>(2).Text("one").Text("two").Key("n", 6).Put<float>(1);
  file.Tensor("w", {4, 4}, 0, 0);
  ASSERT_NO_THROW(Parse(file));
  for (size_t size = 0; size < file.bytes.size(); ++size)
    EXPECT_THROW(ParseGgufHeader(std::as_bytes(std::span(file.bytes.data(), size)), "m"), UserError) << size;
}

TEST(Gguf, RefusesLengthsThatCannotBeBeforeAllocatingThem) {
  const uint64_t huge = ~uint64_t{0};
  EXPECT_THAT(ErrorOf(GgufBytes().Head(huge, 0)), HasSubstr("do not fit"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, huge)), HasSubstr("do not fit"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 1).Put(huge).Put(huge)), HasSubstr("a string of"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 1).Key("key.x", 8).Put(huge)), HasSubstr("key 'key.x'"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 1).Key("key.x", 9).Put<uint32_t>(10).Put(huge)), HasSubstr("do not fit"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(1, 0).Tensor("w", {1ull << 40, 1ull << 40}, 0, 0)), HasSubstr("tensor 'w'"));
}

TEST(Gguf, NamesWhatItDoesNotUnderstand) {
  EXPECT_THAT(ErrorOf(GgufBytes{.bytes = "PK\3\4 something else"}), HasSubstr("m.gguf: not a GGUF file"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 0, 1)), HasSubstr("got 1"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 0, 0x03000000)), HasSubstr("big-endian"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 1).Key("k", 13).Put<uint64_t>(0)), HasSubstr("unknown value type 13"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 1).Key("k", 9).Put<uint32_t>(9).Put<uint64_t>(0)), HasSubstr("array of arrays"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 2).Key("k", 7).Put<uint8_t>(1).Key("k", 7).Put<uint8_t>(1)), HasSubstr("twice"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 1).Key("k", 7).Put<uint8_t>(2)), HasSubstr("0 or 1"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(1, 0).Tensor("w", {1}, 0, 8)), HasSubstr("alignment 32"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(1, 0).Tensor("w", {1, 1, 1, 1, 1}, 0, 0)), HasSubstr("5 dimensions"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(2, 0).Tensor("w", {1}, 0, 0).Tensor("w", {1}, 0, 0)), HasSubstr("appears twice"));
  EXPECT_THAT(ErrorOf(GgufBytes().Head(0, 1).Key("general.alignment", 4).Put<uint32_t>(3)), HasSubstr("power of two"));
}

TEST(Gguf, AskingForAnAbsentKeyOrAnotherKindNamesTheKey) {
  const GgufHeader header = Parse(GgufBytes().Head(0, 1).Key("llama.rope", 6).Put<float>(1));
  EXPECT_THROW(header.GetInt("llama.rope"), UserError);
  try {
    header.GetString("tokenizer.ggml.pre");
    FAIL();
  } catch (const UserError& e) {
    EXPECT_THAT(e.what(), HasSubstr("tokenizer.ggml.pre"));
  }
}

}  // namespace
}  // namespace fathom
