#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <cstring>
#include <string>

#include "base/error.h"
#include "checkpoint/test_data.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string File(const std::string& header, size_t data_bytes, uint64_t header_size = UINT64_MAX) {
  if (header_size == UINT64_MAX) header_size = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &header_size, 8);
  return file + header + std::string(data_bytes, '\x01');
}

std::vector<TensorEntry> Parse(const std::string& file) { return ParseSafetensors(std::as_bytes(std::span(file)), "x.safetensors"); }

std::string Refusal(const std::string& file) {
  return MessageOf<UserError>([&] { Parse(file); });
}

TEST(Safetensors, ReadsEveryDtypeAsTheReferenceWroteIt) {
  const auto files = OpenSafetensors({TestData("dtypes.safetensors")});
  const at::Tensor values = at::tensor({0.0, 1.0, -2.5, 3.25, 100.0, -0.125, 7.0, 2.0, 0.5, 48.0, -96.0, 4.0}, at::kFloat).view({3, 4});
  const std::pair<const char*, at::ScalarType> kinds[] = {
      {"float32", at::kFloat}, {"float64", at::kDouble}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16},
      {"float8_e4m3fn", at::kFloat8_e4m3fn}, {"float8_e5m2", at::kFloat8_e5m2}, {"int8", at::kChar}, {"int16", at::kShort},
      {"int32", at::kInt}, {"int64", at::kLong}, {"uint8", at::kByte}, {"uint16", at::kUInt16}, {"uint32", at::kUInt32},
      {"uint64", at::kUInt64}, {"bool", at::kBool}};
  for (const auto& [name, dtype] : kinds) {
    SCOPED_TRACE(name);
    const TensorEntry* entry = files->Find(name);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->dtype, dtype);
    EXPECT_EQ(entry->shape, (std::vector<int64_t>{3, 4}));
    at::Tensor expected = std::string(name).starts_with("uint") ? values.abs().to(at::kInt).to(dtype)
                          : dtype == at::kBool                  ? values.gt(1)
                                                                : values.to(dtype);
    const at::Tensor own = ReadTensor(*entry, at::ScalarType::Undefined);
    EXPECT_EQ(own.scalar_type(), dtype);
    EXPECT_TRUE(at::equal(own.to(at::kDouble), expected.to(at::kDouble)));
    for (const at::ScalarType wanted : {at::kFloat, at::kBFloat16, at::kHalf})
      EXPECT_TRUE(at::equal(ReadTensor(*entry, wanted), expected.to(at::kFloat).to(wanted)));
  }
}

TEST(Safetensors, ReadsScaleBytesScalarsAndEmptyTensors) {
  const auto files = OpenSafetensors({TestData("dtypes.safetensors")});
  const at::Tensor scales = ReadTensor(*files->Find("float8_e8m0fnu"), at::kFloat);
  EXPECT_TRUE(at::equal(scales, at::tensor({0.5f, 1.f, 2.f, 0x1p-20f})));
  EXPECT_EQ(files->Find("float8_e8m0fnu")->dtype_name(), "F8_E8M0");
  EXPECT_EQ(ReadTensor(*files->Find("scalar"), at::kFloat).item<float>(), 2.5f);
  EXPECT_EQ(ReadTensor(*files->Find("empty"), at::kBFloat16).sizes(), at::IntArrayRef({3, 0, 2}));
  EXPECT_EQ(files->Find("no such"), nullptr);
}

TEST(Safetensors, ReadsUnalignedDataAndPaddedHeaders) {
  std::string file = File(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}  )", 5);
  const float value = 7.5f;
  std::memcpy(file.data() + file.size() - 4, &value, 4);
  const auto entries = Parse(file);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(ReadTensor(entries[1], at::kFloat).item<float>(), 7.5f);
}

TEST(Safetensors, DecodesRowsAlone) {
  const auto files = OpenSafetensors({TestData("dtypes.safetensors")});
  at::Tensor out = at::tensor({0.f, 0.f, 0.f, 0.f});
  DecodeRows(*files->Find("bfloat16"), 1, 2, out);
  EXPECT_TRUE(at::equal(out, at::tensor({100.0f, -0.125f, 7.0f, 2.0f})));
}

struct Lie {
  const char* name;
  std::string file;
  std::vector<const char*> says;
};

class SafetensorsLie : public ::testing::TestWithParam<Lie> {};

TEST_P(SafetensorsLie, IsRefusedWithTheRuleAndTheValues) {
  const std::string message = Refusal(GetParam().file);
  EXPECT_THAT(message, HasSubstr("x.safetensors"));
  for (const char* part : GetParam().says) EXPECT_THAT(message, HasSubstr(part));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

std::string One(const std::string& info, size_t bytes) { return File("{\"w\":" + info + "}", bytes); }

INSTANTIATE_TEST_SUITE_P(Header, SafetensorsLie, ::testing::Values(
    Lie{"EmptyFile", "", {"0 bytes"}},
    Lie{"SevenBytes", "1234567", {"7 bytes"}},
    Lie{"HeaderBeyondFile", File("{}", 0, 3), {"3", "10 bytes", "cut short"}},
    Lie{"HeaderAboveLimit", File("{}", 0, 100'000'001), {"100000001", "limit"}},
    Lie{"HeaderLengthHuge", File("{}", 0, UINT64_MAX - 1), {"18446744073709551614"}},
    Lie{"NotAnObject", File("[]", 0), {"begin with '{'"}},
    Lie{"LeadingBlank", File(" {}", 0), {"begin with '{'"}},
    Lie{"NotJson", File("{\"w\":", 0), {"not valid JSON"}},
    Lie{"GarbageAfter", File("{} x", 0), {"not valid JSON"}},
    Lie{"NotUtf8", File("{\"w\xff\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4), {"UTF-8"}},
    Lie{"DuplicateName", File(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2), {"w stands twice"}},
    Lie{"DuplicateKey", One(R"({"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]})", 1), {"dtype stands twice"}},
    Lie{"DeepNesting", File("{\"w\":" + std::string(5000, '[') + std::string(5000, ']') + "}", 0), {"nested deeper"}},
    Lie{"EntryNotObject", One("[1]", 0), {"tensor w", "[1]"}},
    Lie{"MissingDtype", One(R"({"shape":[1],"data_offsets":[0,1]})", 1), {"tensor w", "dtype is missing"}},
    Lie{"MissingShape", One(R"({"dtype":"U8","data_offsets":[0,1]})", 1), {"tensor w", "shape is missing"}},
    Lie{"MissingOffsets", One(R"({"dtype":"U8","shape":[1]})", 1), {"tensor w", "data_offsets is missing"}},
    Lie{"UnknownKey", One(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1})", 1), {"tensor w", "key x"}},
    Lie{"UnknownDtype", One(R"({"dtype":"F4","shape":[1],"data_offsets":[0,1]})", 1), {"tensor w", "\"F4\""}},
    Lie{"DtypeNumber", One(R"({"dtype":4,"shape":[1],"data_offsets":[0,1]})", 1), {"tensor w", "dtype", "4"}},
    Lie{"ShapeNotList", One(R"({"dtype":"U8","shape":1,"data_offsets":[0,1]})", 1), {"tensor w", "shape"}},
    Lie{"NegativeShape", One(R"({"dtype":"U8","shape":[-1],"data_offsets":[0,1]})", 1), {"tensor w", "shape", "-1"}},
    Lie{"FractionShape", One(R"({"dtype":"U8","shape":[1.5],"data_offsets":[0,1]})", 1), {"tensor w", "shape", "1.5"}},
    Lie{"ShapeAboveInt64", One(R"({"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]})", 1), {"tensor w", "9223372036854775808"}},
    Lie{"ShapeProductOverflows", One(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})", 4), {"tensor w", "overflows"}},
    Lie{"OverflowBehindZero", One(R"({"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})", 0), {"tensor w", "overflows"}},
    Lie{"OffsetsOne", One(R"({"dtype":"U8","shape":[1],"data_offsets":[0]})", 1), {"tensor w", "[begin, end]"}},
    Lie{"OffsetsNegative", One(R"({"dtype":"U8","shape":[1],"data_offsets":[-1,0]})", 1), {"tensor w", "-1"}},
    Lie{"OffsetsBackwards", One(R"({"dtype":"U8","shape":[1],"data_offsets":[1,0]})", 1), {"tensor w", "[1, 0]", "end before they begin"}},
    Lie{"OffsetsBeyondFile", One(R"({"dtype":"U8","shape":[9],"data_offsets":[0,9]})", 8), {"tensor w", "[0, 9]", "8 bytes", "cut short"}},
    Lie{"SizeTooSmall", One(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 4), {"tensor w", "hold 4 bytes", "needs 8"}},
    Lie{"SizeTooLarge", One(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})", 8), {"tensor w", "hold 8 bytes", "needs 4"}},
    Lie{"Overlap", File(R"({"v":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"w":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6), {"tensor w", "[2, 6]", "overlap", "v", "4"}},
    Lie{"Hole", File(R"({"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})", 4), {"tensor w", "hole of 2 bytes"}},
    Lie{"HoleAtTheStart", One(R"({"dtype":"U8","shape":[1],"data_offsets":[1,2]})", 2), {"tensor w", "hole of 1 bytes"}},
    Lie{"BytesAfterTheLast", One(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})", 3), {"2 bytes after the last tensor"}},
    Lie{"MetadataNotStrings", File(R"({"__metadata__":{"format":1}})", 0), {"__metadata__", "format"}},
    Lie{"MetadataNotObject", File(R"({"__metadata__":[]})", 0), {"__metadata__"}}),
    [](const auto& info) { return info.param.name; });

TEST(Safetensors, RefusesAFileCutAnywhere) {
  const std::string whole = ReadFile(TestData("dtypes.safetensors"));
  for (size_t size = 0; size < whole.size(); size += 7) EXPECT_THROW(Parse(whole.substr(0, size)), UserError) << size;
}

TEST(Safetensors, RefusesOneNameInTwoShards) {
  const TemporaryFolder folder;
  const std::string file = One(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})", 1);
  const auto a = folder.Write("a.safetensors", file), b = folder.Write("b.safetensors", file);
  EXPECT_THAT(MessageOf<UserError>([&] { OpenSafetensors({a, b}); }), AllOf(HasSubstr("tensor w"), HasSubstr("a.safetensors"), HasSubstr("b.safetensors")));
}

TEST(ShardIndex, RefusesFilesOutsideTheFolder) {
  for (const char* file : {"../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", ""})
    EXPECT_THROW(ParseShardIndex({{"weight_map", {{"w", file}}}}, "index"), UserError) << file;
  EXPECT_THROW(ParseShardIndex({{"weight_map", {{"w", 3}}}}, "index"), UserError);
  EXPECT_THROW(ParseShardIndex({{"weight_map", Json::object()}}, "index"), UserError);
  EXPECT_THROW(ParseShardIndex(Json::array(), "index"), UserError);
  EXPECT_EQ(ParseShardIndex({{"metadata", {{"total_size", 1}}}, {"weight_map", {{"w", "x.safetensors"}}}}, "index").at("w"), "x.safetensors");
}

TEST(ShardIndex, RefusesAnIndexThatDoesNotMatchTheFiles) {
  const TemporaryFolder folder;
  const auto a = folder.Write("a.safetensors", One(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})", 1));
  const auto b = folder.Write("b.safetensors", File(R"({"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1));
  const auto files = OpenSafetensors({a, b});
  CheckShardIndex({{"w", "a.safetensors"}, {"v", "b.safetensors"}}, *files, "index");
  const auto refusal = [&](const ShardIndex& index) { return MessageOf<UserError>([&] { CheckShardIndex(index, *files, "index"); }); };
  EXPECT_THAT(refusal({{"w", "b.safetensors"}, {"v", "b.safetensors"}}), AllOf(HasSubstr("tensor w"), HasSubstr("is in a.safetensors")));
  EXPECT_THAT(refusal({{"w", "a.safetensors"}, {"v", "b.safetensors"}, {"u", "a.safetensors"}}), AllOf(HasSubstr("tensor u"), HasSubstr("does not hold it")));
  EXPECT_THAT(refusal({{"w", "a.safetensors"}}), AllOf(HasSubstr("tensor v"), HasSubstr("not in weight_map")));
}

}  // namespace
}  // namespace fathom
