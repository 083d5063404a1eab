// fathom data and fathom tokenizer through the real binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "cli/program_run.h"
#include "temporary_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class DataCli : public ::testing::Test {
 protected:
  DataCli() {
    std::string lines = "{\"text\": \"the first of the texts\"}\nno json\n{\"text\": \"the second of the texts\"}\n{\"text\": \"the first of the texts\"}\n";
    for (int i = 0; i < 40; ++i) lines += "{\"text\": \"the texts of the day " + std::to_string(i) + "\"}\n";
    WriteFileAtomically(Path("a.jsonl"), lines);
  }
  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }
  static Json JsonOf(const RunResult& result) {
    EXPECT_EQ(result.code, 0) << result.err;
    return Json::parse(result.out, nullptr, false);
  }
  Json Train() const { return JsonOf(RunFathom({"tokenizer", "train", "--data", Path("a.jsonl"), "--vocab-size", "290", "--out", Path("tok"), "--json"})); }
  // One line on stderr and nothing on stdout.
  static std::string ErrorOf(const std::vector<std::string>& args) {
    const RunResult result = RunFathom(args);
    EXPECT_EQ(result.code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    return result.err;
  }

  TemporaryFolder folder_;
};

TEST_F(DataCli, TrainsATokenizerAndTokenizesWithIt) {
  const Json trained = Train();
  EXPECT_EQ(trained["vocab_size"], 290);
  EXPECT_EQ(trained["documents"], 43);
  EXPECT_EQ(trained["rejected"], 1);
  const Json ids = JsonOf(RunFathom({"tokenize", "--tokenizer", Path("tok"), "--text", "the texts", "--json"}));
  EXPECT_LT(ids["tokens"].size(), 6u);

  const std::vector<std::string> tokenize = {"data", "tokenize", "--data", Path("a.jsonl"), "--tokenizer", Path("tok"), "--out", Path("tokens"), "--json"};
  const Json done = JsonOf(RunFathom(tokenize));
  EXPECT_EQ(done["documents"], 43);
  EXPECT_EQ(done["rejected"], 1);
  EXPECT_EQ(JsonOf(RunFathom(tokenize)), done) << "a second run finds everything done";
  const Json inspected = JsonOf(RunFathom({"data", "inspect", Path("tokens"), "--show", "1", "--tokenizer", Path("tok"), "--json"}));
  EXPECT_EQ(inspected["tokens"], done["tokens"]);
  EXPECT_EQ(inspected["examples"], Json::array({"the first of the texts"}));
  EXPECT_THAT(ReadFile(folder_.path() / "tokens/rejects.jsonl"), HasSubstr("no json"));
}

TEST_F(DataCli, InspectsRawTexts) {
  const Json inspected = JsonOf(RunFathom({"data", "inspect", Path("a.jsonl"), "--json"}));
  EXPECT_EQ(inspected["documents"], 43);
  EXPECT_EQ(inspected["duplicates"], 1);
  EXPECT_EQ(inspected["rejects"][0]["line"], 2);
  EXPECT_THAT(RunFathom({"data", "inspect", folder_.path().string()}).out, HasSubstr("1 cannot be read"));
}

TEST_F(DataCli, TokenizesTheSourcesOfARecipe) {
  Train();
  WriteFileAtomically(Path("r.yaml"), "data:\n  sources:\n    - {path: " + Path("a.jsonl") + ", domain: x}\n");
  const Json done = JsonOf(RunFathom({"data", "tokenize", "--recipe", Path("r.yaml"), "--tokenizer", Path("tok"), "--out", Path("cache"), "--json"}));
  EXPECT_TRUE(fs::exists(fs::path(done["out"].get<std::string>()) / "corpus.json"));
  EXPECT_EQ(fs::path(done["out"].get<std::string>()).parent_path().string(), Path("cache"));
}

TEST_F(DataCli, ExplainsWrongUses) {
  Train();
  const std::string tok = Path("tok"), data = Path("a.jsonl");
  EXPECT_THAT(ErrorOf({"data"}), HasSubstr("takes `inspect` or `tokenize`"));
  EXPECT_THAT(ErrorOf({"data", "inspect"}), HasSubstr("needs --data or --recipe, got neither"));
  EXPECT_THAT(ErrorOf({"data", "inspect", Path("none.txt")}), HasSubstr("none.txt does not exist"));
  EXPECT_THAT(ErrorOf({"data", "tokenize", data, "--tokenizer", tok}), HasSubstr("needs --out"));
  EXPECT_THAT(ErrorOf({"data", "tokenize", data, "--out", Path("o")}), HasSubstr("needs --tokenizer"));
  EXPECT_THAT(ErrorOf({"data", "tokenize", data, "--tokenizer", tok, "--out", tok}), HasSubstr("is not empty"));
  EXPECT_THAT(ErrorOf({"data", "inspect", data, "--documents", "word"}), HasSubstr("--documents: must be file, line, paragraph or chunk, got 'word'"));
  WriteFileAtomically(Path("r.yaml"), "data:\n  sources:\n    - {pth: x}\n");
  EXPECT_THAT(ErrorOf({"data", "inspect", "--recipe", Path("r.yaml")}), HasSubstr("r.yaml:3: data.sources[0].pth: unknown key (did you mean 'path'?)"));
  WriteFileAtomically(Path("bad.jsonl"), "x\ny\n");
  EXPECT_THAT(ErrorOf({"data", "tokenize", Path("bad.jsonl"), "--tokenizer", tok, "--out", Path("o2")}), HasSubstr("has no document (2 could not be read"));

  EXPECT_THAT(ErrorOf({"tokenizer", "learn"}), HasSubstr("takes `train`"));
  EXPECT_THAT(ErrorOf({"tokenizer", "train", "--data", data, "--out", Path("t")}), HasSubstr("needs --vocab-size"));
  EXPECT_THAT(ErrorOf({"tokenizer", "train", "--data", data, "--out", Path("t"), "--vocab-size", "100"}), HasSubstr("--vocab-size must be an integer from 257"));
  EXPECT_THAT(ErrorOf({"tokenizer", "train", "--data", data, "--out", Path("t"), "--vocab-size", "260"}), HasSubstr("has no room for 8 special tokens"));
  EXPECT_THAT(ErrorOf({"tokenizer", "train", "--data", data, "--out", tok, "--vocab-size", "290"}), HasSubstr("tok"));
  EXPECT_THAT(ErrorOf({"tokenizer", "train", "--data", data, "--out", Path("t"), "--vocab-size", "290", "--pre-tokenizer", "gpt9"}), HasSubstr("gpt9"));
  EXPECT_THAT(ErrorOf({"tokenizer", "train", "--data", data, "--out", Path("t"), "--vocab-size", "290", "--eos", "<end>"}), HasSubstr("--eos: '<end>' is none"));
  EXPECT_THAT(ErrorOf({"tokenizer", "train", "--data", Path("bad.jsonl"), "--out", Path("t"), "--vocab-size", "290"}), HasSubstr("has no text (2 documents"));
  EXPECT_FALSE(fs::exists(Path("t")));
}

}  // namespace
}  // namespace fathom
