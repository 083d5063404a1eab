// Templates render as Python's jinja2 renders them. The cases are made by jinja_goldens.py; compare_jinja.py makes fresh
// random ones and runs this test over them (FATHOM_JINJA_GOLDENS names its file).
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "places.h"
#include "text/jinja/template.h"

namespace fathom {
namespace {

std::string GoldensPath() {
  const char* given = std::getenv("FATHOM_JINJA_GOLDENS");
  return given != nullptr ? given : (SourceFolder() / "tests/text/data/jinja_goldens.jsonl").string();
}

struct Outcome {
  std::string text;   // rendered, or the error's cause
  bool failed = false;
  int line = 0;
};

Outcome RenderCase(const std::string& source, const OrderedJson& variables) {
  try {
    return {jinja::Template(source, "T").Render(variables), false, 0};
  } catch (const UserError& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("T: line ")) << message;
    size_t end = 0;
    const int line = std::stoi(message.substr(8), &end);
    return {message.substr(8 + end + 2), true, line};
  }
}

TEST(JinjaGoldens, EveryTemplateRendersAsInPython) {
  std::ifstream file(GoldensPath());
  ASSERT_TRUE(file) << GoldensPath();
  OrderedJson templates = OrderedJson::object();  // of the cases that share one
  int count = 0;
  int mismatches = 0;
  for (std::string line; std::getline(file, line);) {
    const OrderedJson golden = ParseOrderedJson(line, "golden");
    if (golden.contains("define")) {
      templates[golden["define"].get<std::string>()] = golden["template"];
      continue;
    }
    const std::string source = golden.contains("use") ? templates.at(golden["use"].get<std::string>()).get<std::string>()
                                                      : golden["template"].get<std::string>();
    const Outcome outcome = RenderCase(source, golden["variables"]);
    ++count;
    const bool should_fail = golden.contains("error");
    bool same = outcome.failed == should_fail;
    if (same && !should_fail) same = outcome.text == golden["rendered"].get<std::string>();
    if (same && golden.contains("line")) same = outcome.line == golden["line"].get<int>();
    if (same && golden.contains("exact_error")) same = outcome.text == golden["error"].get<std::string>();
    if (same) continue;
    if (++mismatches <= 40) {
      ADD_FAILURE() << "template: " << (golden.contains("use") ? golden["use"].get<std::string>() : source)
                    << "\nvariables: " << golden["variables"].dump() << "\nPython: "
                    << (should_fail ? "error (line " + (golden.contains("line") ? golden["line"].dump() : "?") + "): " + golden["error"].get<std::string>()
                                    : golden["rendered"].get<std::string>())
                    << "\nhere:   " << (outcome.failed ? "error (line " + std::to_string(outcome.line) + "): " : "") << outcome.text;
    }
  }
  EXPECT_GT(count, 0);
  EXPECT_EQ(mismatches, 0) << "of " << count;
  RecordProperty("cases", count);
}

}  // namespace
}  // namespace fathom
