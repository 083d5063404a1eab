#include "checkpoint/torch_bin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <cstring>
#include <string>

#include "base/error.h"
#include "checkpoint/test_data.h"
#include "checkpoint/torch_pickle.h"
#include "checkpoint/torch_zip.h"

namespace fathom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string BinRefusal(const std::string& name) {
  return MessageOf<UserError>([&] { OpenTorchBin({TestData(name)}); });
}

TEST(TorchBin, ReadsEveryDtype) {
  const auto files = OpenTorchBin({TestData("tensors.bin")});
  const auto reference = OpenSafetensors({TestData("dtypes.safetensors")});
  int num_compared = 0;
  for (const TensorEntry& expected : reference->entries()) {
    const TensorEntry* entry = files->Find(expected.name);
    if (entry == nullptr || entry->name == "scalar") continue;
    SCOPED_TRACE(entry->name);
    EXPECT_EQ(entry->dtype, expected.dtype);
    EXPECT_TRUE(at::equal(ReadTensor(*entry, at::kFloat), ReadTensor(expected, at::kFloat)));
    ++num_compared;
  }
  EXPECT_EQ(num_compared, 15);
}

TEST(TorchBin, ReadsStridedViewsOfASharedStorage) {
  const auto files = OpenTorchBin({TestData("tensors.bin")});
  const at::Tensor base = at::arange(24, at::kFloat).view({4, 6});
  const auto read = [&](const char* name) { return ReadTensor(*files->Find(name), at::kFloat); };
  EXPECT_TRUE(at::equal(read("base"), base));
  EXPECT_TRUE(at::equal(read("transposed"), base.t()));
  EXPECT_TRUE(at::equal(read("slice"), base.slice(0, 1, 3).slice(1, 2, 5)));
  EXPECT_TRUE(at::equal(read("row"), base[2]));
  EXPECT_TRUE(at::equal(read("expanded"), base.slice(1, 0, 1).expand({4, 3})));
  EXPECT_EQ(read("scalar").item<float>(), 2.5f);
  EXPECT_TRUE(at::equal(read("parameter"), at::tensor({1.5f, 2.5f})));
  at::Tensor rows = at::tensor({0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f}).to(at::kBFloat16);
  DecodeRows(*files->Find("transposed"), 2, 4, rows);
  EXPECT_TRUE(at::equal(rows.view({2, 4}), base.t().slice(0, 2, 4).to(at::kBFloat16)));
}

TEST(TorchBin, ReadsAStateDictWithItsMetadata) {
  const auto files = OpenTorchBin({TestData("state_dict.bin")});
  ASSERT_NE(files->Find("weight"), nullptr);
  EXPECT_EQ(files->Find("weight")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(files->Find("bias")->shape, (std::vector<int64_t>{2}));
}

TEST(TorchBin, RefusesAForeignGlobalByItsName) {
  EXPECT_THAT(BinRefusal("evil.bin"), AllOf(HasSubstr("evil.bin"), HasSubstr("posix.system"), HasSubstr("not run")));
  EXPECT_THAT(BinRefusal("size.bin"), HasSubstr("torch.Size"));
}

TEST(TorchBin, RefusesTheOldFormatAndWhatIsNoDictionaryOfTensors) {
  EXPECT_THAT(BinRefusal("legacy.bin"), AllOf(HasSubstr("before PyTorch 1.6"), HasSubstr("save it again")));
  EXPECT_THAT(BinRefusal("integer.bin"), AllOf(HasSubstr("a is an integer"), HasSubstr("not a tensor")));
  EXPECT_THAT(BinRefusal("list.bin"), AllOf(HasSubstr("holds a list"), HasSubstr("dictionary")));
}

TEST(TorchBin, RefusesAFileCutAnywhere) {
  const std::string whole = ReadFile(TestData("state_dict.bin"));
  for (size_t size = 0; size < whole.size(); size += 5)
    EXPECT_THROW(ParseTorchBin(std::as_bytes(std::span(whole)).first(size), "x"), UserError) << size;
}

TEST(TorchBin, SurvivesEveryChangedByte) {
  const std::string whole = ReadFile(TestData("state_dict.bin"));
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x41);
    try {
      for (const TensorEntry& entry : ParseTorchBin(std::as_bytes(std::span(changed)), "x"))
        if (entry.numel() < 10000) ReadTensor(entry, at::kFloat);
    } catch (const UserError&) {
    }
  }
}

// A minimal pickle of {"w": tensor} with the given storage length, offset, sizes and strides (one byte each).
std::string Pickle(int numel, int offset, const std::vector<int>& sizes, const std::vector<int>& strides) {
  const auto number = [](int value) { return std::string("K") + static_cast<char>(value); };
  std::string text = "\x80\x02}X\x01";
  text += std::string(3, '\0') + "wctorch._utils\n_rebuild_tensor_v2\n((X\x07";
  text += std::string(3, '\0') + "storagectorch\nFloatStorage\nX\x01" + std::string(3, '\0') + "0X\x03" + std::string(3, '\0') + "cpu" + number(numel) + "tQ";
  text += number(offset) + "(";
  for (const int size : sizes) text += number(size);
  text += "t(";
  for (const int stride : strides) text += number(stride);
  return text + "t\x89" "ccollections\nOrderedDict\n)RtRs.";
}

// A stored zip of data.pkl and one storage.
std::string Zip(const std::vector<std::pair<std::string, std::string>>& members, uint16_t method = 0, uint32_t size_lie = 0) {
  std::string file, directory;
  const auto put16 = [](std::string& to, uint16_t value) { to.append(reinterpret_cast<const char*>(&value), 2); };
  const auto put32 = [](std::string& to, uint32_t value) { to.append(reinterpret_cast<const char*>(&value), 4); };
  for (const auto& [name, bytes] : members) {
    const auto offset = static_cast<uint32_t>(file.size()), size = static_cast<uint32_t>(bytes.size()) + size_lie;
    file += "PK\x03\x04";
    for (const uint16_t v : {20, 0, 0, 0, 0}) put16(file, v);
    for (const uint32_t v : {0u, size, size}) put32(file, v);
    put16(file, static_cast<uint16_t>(name.size()));
    put16(file, 0);
    file += name + bytes;
    directory += "PK\x01\x02";
    for (const uint16_t v : {uint16_t{20}, uint16_t{20}, uint16_t{0}, method, uint16_t{0}, uint16_t{0}}) put16(directory, v);
    for (const uint32_t v : {0u, size, size}) put32(directory, v);
    put16(directory, static_cast<uint16_t>(name.size()));
    for (const uint16_t v : {0, 0, 0, 0}) put16(directory, v);
    put32(directory, 0);
    put32(directory, offset);
    directory += name;
  }
  const auto begin = static_cast<uint32_t>(file.size());
  file += directory + "PK\x05\x06";
  put16(file, 0);
  put16(file, 0);
  put16(file, static_cast<uint16_t>(members.size()));
  put16(file, static_cast<uint16_t>(members.size()));
  put32(file, static_cast<uint32_t>(directory.size()));
  put32(file, begin);
  put16(file, 0);
  return file;
}

std::string Bin(const std::string& pickle, size_t storage_bytes = 24) {
  return Zip({{"m/data.pkl", pickle}, {"m/data/0", std::string(storage_bytes, '\0')}});
}

std::vector<TensorEntry> ParseText(const std::string& file) { return ParseTorchBin(std::as_bytes(std::span(file)), "x.bin"); }
std::string RefusalOf(const std::string& file) {
  return MessageOf<UserError>([&] { ParseText(file); });
}

TEST(TorchBin, ReadsTheSmallestFile) {
  const auto entries = ParseText(Bin(Pickle(6, 0, {2, 3}, {3, 1})));
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].name, "w");
  EXPECT_EQ(entries[0].bytes.size(), 24u);
  EXPECT_TRUE(entries[0].strides.empty());
}

TEST(TorchBin, RefusesViewsBeyondTheirStorage) {
  EXPECT_THAT(RefusalOf(Bin(Pickle(6, 0, {3, 3}, {3, 1}))), AllOf(HasSubstr("tensor w"), HasSubstr("[3, 3]"), HasSubstr("6 elements")));
  EXPECT_THAT(RefusalOf(Bin(Pickle(6, 1, {2, 3}, {3, 1}))), HasSubstr("offset 1"));
  EXPECT_THAT(RefusalOf(Bin(Pickle(6, 7, {0}, {1}))), HasSubstr("offset 7"));
  EXPECT_THAT(RefusalOf(Bin(Pickle(6, 0, {2, 2}, {5, 1}))), HasSubstr("strides [5, 1]"));
  EXPECT_THAT(RefusalOf(Bin(Pickle(6, 0, {2, 3}, {1}))), HasSubstr("2 sizes and 1 strides"));
  EXPECT_THAT(RefusalOf(Bin(Pickle(6, 0, {2, 3}, {3, 1}), 20)), AllOf(HasSubstr("24 bytes"), HasSubstr("20")));
}

TEST(TorchBin, RefusesABrokenArchive) {
  const std::string pickle = Pickle(6, 0, {2, 3}, {3, 1});
  EXPECT_THAT(RefusalOf(Zip({{"m/data.pkl", pickle}})), HasSubstr("data/0 is not in the file"));
  EXPECT_THAT(RefusalOf(Zip({{"m/other", ""}})), HasSubstr("without data.pkl"));
  EXPECT_THAT(RefusalOf(Zip({{"m/data.pkl", pickle}}, 8)), AllOf(HasSubstr("m/data.pkl"), HasSubstr("compressed")));
  EXPECT_THAT(RefusalOf(Zip({{"m/data.pkl", pickle}}, 0, 1000)), HasSubstr("beyond"));
  EXPECT_THAT(RefusalOf(Zip({{"m/data.pkl", pickle}, {"m/data.pkl", pickle}})), HasSubstr("stands twice"));
  EXPECT_THAT(RefusalOf(Zip({{"m/data.pkl", pickle}, {"m/data/0", std::string(24, '\0')}, {"m/byteorder", "big"}})), HasSubstr("byte order is big"));
  EXPECT_THAT(RefusalOf("not a zip file at all, by far"), HasSubstr("not a zip file"));
}

std::string PickleRefusal(const std::string& pickle) {
  return MessageOf<UserError>([&] { ReadTensorPickle(std::as_bytes(std::span(pickle)), "x.pkl"); });
}

TEST(TorchPickle, RefusesWhatATensorFileDoesNotNeed) {
  using namespace std::string_literals;
  EXPECT_THAT(PickleRefusal("cbuiltins\neval\n."), HasSubstr("builtins.eval"));
  EXPECT_THAT(PickleRefusal("X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93."s), HasSubstr("os.system"));
  EXPECT_THAT(PickleRefusal("ios\nsystem\n."), HasSubstr("opcode 0x69"));
  EXPECT_THAT(PickleRefusal("\x80\x01}."), HasSubstr("protocol 1"));
  EXPECT_THAT(PickleRefusal(""), HasSubstr("cut short"));
  EXPECT_THAT(PickleRefusal("."), HasSubstr("stack is empty"));
  EXPECT_THAT(PickleRefusal("t."), HasSubstr("no mark"));
  EXPECT_THAT(PickleRefusal("h\x05."), HasSubstr("memo 5"));
  EXPECT_THAT(PickleRefusal("]ccollections\nOrderedDict\nR."), HasSubstr("tuple"));
  EXPECT_THAT(PickleRefusal("X\xff\xff\xff\xffw."), HasSubstr("4294967295 bytes are needed"));
  EXPECT_THAT(PickleRefusal("}K\x01K\x02s."), HasSubstr("a key of its dictionary is an integer"));
  EXPECT_THAT(PickleRefusal("\x8a\x09" "123456789."), HasSubstr("9 bytes"));
}

}  // namespace
}  // namespace fathom
