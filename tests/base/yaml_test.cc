#include "base/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fathom {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::function<void()>& act) {
  try {
    act();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Yaml, ReadsValuesAndSaysWhereTheyStand) {
  const Yaml root = Yaml::Parse("a: 1\nb:\n  - x: 2.5\n    y: [no, yes]\nc: null\n", "f.yaml");
  EXPECT_EQ(root.Get("a").AsInt(), 1);
  const Yaml item = root.Get("b").Items().at(0);
  EXPECT_EQ(item.Get("x").AsNumber(), 2.5);
  EXPECT_FALSE(item.Get("y").Items().at(0).AsBool());
  EXPECT_EQ(item.Get("y").Items().at(1).Where(), "f.yaml:4: b[0].y[1]");
  EXPECT_FALSE(root.Find("c").has_value());
  EXPECT_EQ(root.GetInt("d", 7, 0), 7);
}

TEST(Yaml, SetReplacesAndMakesValues) {
  Yaml root = Yaml::Parse("train:\n  steps: 10\nlist:\n  - {w: 1}\n", "f.yaml");
  root.Set("train.steps", "20");
  root.Set("train.lr.peak", "3e-4");
  root.Set("list.0.w", "5");
  EXPECT_EQ(root.Get("train").Get("steps").AsInt(), 20);
  EXPECT_EQ(root.Get("train").Get("lr").Get("peak").AsNumber(), 3e-4);
  EXPECT_EQ(root.Get("list").Items().at(0).Get("w").AsInt(), 5);
  EXPECT_EQ(Yaml::Parse(root.Dump(), "again").Get("train").Get("steps").AsInt(), 20);
  root.Set("train.steps", "many");
  EXPECT_THAT(ErrorOf([&] { root.Get("train").Get("steps").AsInt(1); }), HasSubstr("--set train.steps: must be an integer from 1 on, got 'many'"));
  EXPECT_THAT(ErrorOf([&] { root.Set("train.steps.x", "1"); }), HasSubstr("train.steps is no map"));
  EXPECT_THAT(ErrorOf([&] { root.Set("list.3.w", "1"); }), HasSubstr("must be an index below 1"));
}

TEST(Yaml, RefusesWhatItCannotMean) {
  EXPECT_THAT(ErrorOf([] { Yaml::Parse(std::string("a: 1\nb:u\0\0\xff", 10), "f.yaml"); }), HasSubstr("f.yaml:2: not valid YAML: the control character 0x00"));
  EXPECT_THAT(ErrorOf([] { Yaml::Parse("a: \xff", "f.yaml"); }), HasSubstr("is not UTF-8"));
  EXPECT_THAT(ErrorOf([] { Yaml::Parse("a: 1\nb: [1, 2\n", "f.yaml"); }), HasSubstr("f.yaml:"));
  EXPECT_THAT(ErrorOf([] { Yaml::Parse("a: 1\nb: 2\na: 3\n", "f.yaml"); }), HasSubstr("f.yaml:3: the key 'a' stands twice"));
  EXPECT_THAT(ErrorOf([] { Yaml::Parse(std::string(100, '[') + std::string(100, ']'), "f.yaml"); }), HasSubstr("nested deeper"));
  EXPECT_THAT(ErrorOf([] { Yaml::Parse("a: &x [1]\nb: &y [*x, *x]\n--- \nc: 1\n", "f.yaml"); }), HasSubstr("one YAML document"));
  EXPECT_THAT(ErrorOf([] { Yaml::Parse("a: 1.5\n", "f.yaml").Get("a").AsInt(0, 3); }), HasSubstr("f.yaml:1: a: must be an integer from 0 to 3, got '1.5'"));
  EXPECT_THAT(ErrorOf([] { Yaml::Parse("stpes: 1\n", "f.yaml").AllowKeys({"steps", "lr"}); }), HasSubstr("unknown key (did you mean 'steps'?)"));
}

}  // namespace
}  // namespace fathom
