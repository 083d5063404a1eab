#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class ChatTemplateTest : public testing::Test {
 protected:
  ChatTemplateTest() {
    folder_ = fs::path(testing::TempDir()) / ("chat_template_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ChatTemplateTest() override { fs::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name, std::ios::binary) << text; }

  static TemplateInput Hello() {
    TemplateInput input;
    input.messages = OrderedJson::parse(R"([{"role": "user", "content": "Hi"}])");
    return input;
  }
  static std::string ErrorOf(const std::string& source) {
    try {
      ChatTemplate::Parse(source, "NAME", OrderedJson::object())->Render(Hello());
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path folder_;
};

TEST_F(ChatTemplateTest, AFileOfItsOwnGoesBeforeTheConfiguration) {
  Write("chat_template.jinja", "file {{ bos_token }}{{ messages[0].content }}");
  Write("tokenizer_config.json", R"({"chat_template": "config", "bos_token": {"content": "<s>"}, "eos_token": null})");
  EXPECT_EQ(ChatTemplate::Load(folder_)->Render(Hello()), "file <s>Hi");
  EXPECT_EQ(ChatTemplate::Load(folder_ / "tokenizer.json")->Render(Hello()), "file <s>Hi");
}

TEST_F(ChatTemplateTest, TheToolTemplateIsUsedWhenThereAreTools) {
  Write("tokenizer_config.json", R"({"bos_token": "<s>", "chat_template": [{"name": "default", "template": "plain {{ tools is none }}"},
                                     {"name": "tool_use", "template": "tools {{ tools | length }}"}]})");
  TemplateInput input = Hello();
  const auto chat_template = ChatTemplate::Load(folder_);
  EXPECT_EQ(chat_template->Render(input), "plain True");
  input.tools = OrderedJson::array({1, 2});
  EXPECT_EQ(chat_template->Render(input), "tools 2");
}

TEST_F(ChatTemplateTest, AModelWithoutATemplateHasNone) {
  Write("tokenizer_config.json", R"({"bos_token": "<s>"})");
  EXPECT_EQ(ChatTemplate::Load(folder_), nullptr);
  EXPECT_EQ(ChatTemplate::LoadSpecialTokens(folder_), OrderedJson::parse(R"({"bos_token": "<s>"})"));
}

TEST_F(ChatTemplateTest, SeveralTemplatesNeedADefault) {
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "x"}]})");
  EXPECT_THROW(ChatTemplate::Load(folder_), UserError);
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  EXPECT_THROW(ChatTemplate::Load(folder_), UserError);
  Write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THROW(ChatTemplate::Load(folder_), UserError);
}

TEST_F(ChatTemplateTest, ArgumentsOverrideEveryVariable) {
  TemplateInput input = Hello();
  input.args = OrderedJson::parse(R"({"bos_token": "B", "documents": [1], "thinking": true})");
  const auto chat_template = ChatTemplate::Parse("{{ bos_token }}{{ documents }}{{ thinking }}{{ add_generation_prompt }}", "T",
                                                 OrderedJson::parse(R"({"bos_token": "<s>"})"));
  EXPECT_EQ(chat_template->Render(input), "B[1]TrueFalse");
}

TEST_F(ChatTemplateTest, ErrorsNameTheTemplateTheLineAndTheCause) {
  EXPECT_EQ(ErrorOf("a\nb\n{{ raise_exception('no system role') }}"), "NAME: line 3: no system role");
  EXPECT_EQ(ErrorOf("\n{{ messages[0].tool_calls.x }}"), "NAME: line 2: 'dict object' has no attribute 'tool_calls'");
  EXPECT_EQ(ErrorOf("{{ nothing.x }}"), "NAME: line 1: 'nothing' is undefined");
  EXPECT_EQ(ErrorOf("\n\n{{ 1 | nofilter }}"), "NAME: line 3: No filter named 'nofilter'.");
  EXPECT_EQ(ErrorOf("{{ messages.append(1) }}"), "NAME: line 1: access to attribute 'append' of 'list' object is unsafe.");
  EXPECT_THAT(ErrorOf("{% if x %}"), StartsWith("NAME: line 1: Unexpected end of template."));
  EXPECT_THAT(ErrorOf("x\n{% include 'a' %}"), StartsWith("NAME: line 2: the tag 'include' is not supported"));
  EXPECT_THAT(ErrorOf("a\nb\xff"), StartsWith("NAME: line 2: not valid UTF-8"));
}

TEST_F(ChatTemplateTest, AHostileTemplateEndsWithAnError) {
  EXPECT_THAT(ErrorOf("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"), HasSubstr("steps"));
  EXPECT_THAT(ErrorOf("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("recursion"));
  EXPECT_THAT(ErrorOf("{{ 'a' * 100000000 }}"), HasSubstr("MiB"));
  EXPECT_THAT(ErrorOf("{% for i in range(1000) %}{{ 'a' * 1000000 }}{% endfor %}"), HasSubstr("MiB"));
  EXPECT_THAT(ErrorOf("{{ range(100001) }}"), HasSubstr("Range too big"));
  EXPECT_THAT(ErrorOf("{{ 2 ** 200 }}"), HasSubstr("128 bits"));
  EXPECT_THAT(ErrorOf("{% set n = namespace(x=[]) %}{% for i in range(90000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}"), HasSubstr("nested"));
  EXPECT_THAT(ErrorOf("{% set n = namespace(x=1) %}{% set n.x = n %}{{ n }}{{ nothing.x }}"), HasSubstr("undefined"));
  EXPECT_THAT(ErrorOf("{{ " + std::string(500, '(') + "1" + std::string(500, ')') + " }}"), HasSubstr("line 1"));
  std::string long_sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) long_sum += " + 1";
  EXPECT_THAT(ErrorOf(long_sum + " }}"), HasSubstr("deeper"));
}

}  // namespace
}  // namespace fathom
