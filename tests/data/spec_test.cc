#include "data/spec.h"

#include <gmock/gmock.h>

#include "data/small_corpus.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;
using testing::UserErrorOf;

DataSpec Parse(const std::string& yaml) { return ParseDataSpec(Yaml::Parse(yaml, "r.yaml").Get("data")); }

TEST(DataSpec, ReadsEverythingThatTheSectionCanSay) {
  const DataSpec spec = Parse(R"(
data:
  mixture: "code:general 3:7"
  held_out: 0.01
  document_mask: true
  fim: {rate: 0.1, begin: <a>, hole: <b>, end: <c>}
  sources:
    - {path: "c/*.py", domain: code, epochs: 2.5, documents: chunk}
    - {path: [a.txt, b.jsonl.zst], weight: 2, text_field: content, name: books}
)");
  ASSERT_EQ(spec.sources.size(), 2u);
  EXPECT_EQ(spec.sources[0].name, "c/*.py");
  EXPECT_EQ(spec.sources[0].epochs, 2.5);
  EXPECT_EQ(spec.sources[0].unit, DocumentUnit::kChunk);
  EXPECT_EQ(spec.sources[1].paths, (std::vector<std::string>{"a.txt", "b.jsonl.zst"}));
  EXPECT_EQ(spec.sources[1].text_field, "content");
  EXPECT_EQ(spec.sources[1].domain, "general");
  EXPECT_EQ(spec.mixture, (std::vector<std::pair<std::string, double>>{{"code", 0.3}, {"general", 0.7}}));
  EXPECT_EQ(spec.fim.hole, "<b>");
  EXPECT_TRUE(spec.document_mask);
}

TEST(DataSpec, AMixtureIsOneLine) {
  const auto mixture = ParseMixture("a:b:c 1:1:2", "--mixture");
  EXPECT_EQ(mixture, (std::vector<std::pair<std::string, double>>{{"a", 0.25}, {"b", 0.25}, {"c", 0.5}}));
  for (const char* wrong : {"", "a:b", "a:b 1", "a:b 1:2:3", "a:b 1:x", "a:b 0:1", "a:a 1:1", ":b 1:1", "a:b 1:2 3"})
    EXPECT_THAT(UserErrorOf([&] { ParseMixture(wrong, "--mixture"); }), HasSubstr("--mixture")) << wrong;
}

TEST(DataSpec, NamesTheLineOfAMistake) {
  EXPECT_THAT(UserErrorOf([] { Parse("data:\n  sources:\n    - {path: a, wieght: 3}\n"); }), HasSubstr("r.yaml:3: data.sources[0].wieght: unknown key (did you mean 'weight'?)"));
  EXPECT_THAT(UserErrorOf([] { Parse("data:\n  sources: [a]\n  held_out: 2\n"); }), HasSubstr("r.yaml:3: data.held_out: must be a number from 0 to 0.5, got '2'"));
  EXPECT_THAT(UserErrorOf([] { Parse("data:\n  sources: [a]\n  mixture: \"code:text 1:1\"\n"); }), HasSubstr("r.yaml:3"));
  EXPECT_THAT(UserErrorOf([] { Parse("data:\n  sources: []\n"); }), HasSubstr("needs a source"));
  EXPECT_THAT(UserErrorOf([] { Parse("data:\n  sources: [{path: a, weight: 1}, {path: b}]\n"); }), HasSubstr("1 of 2 sources"));
  EXPECT_THAT(UserErrorOf([] { Parse("data:\n  sources: [a, a]\n"); }), HasSubstr("stands twice"));
  EXPECT_THAT(UserErrorOf([] { Parse("data:\n  sources: [{path: a, domain: x}, b]\n  mixture: \"x 1\"\n"); }), HasSubstr("no share for the domain 'general'"));
}

}  // namespace
}  // namespace fathom
