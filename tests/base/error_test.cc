#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(Error, UserCheckThrowsTheFormattedLineOnlyWhenTheRuleIsBroken) {
  EXPECT_NO_THROW(FATHOM_USER_CHECK(1 < 2, "never"));
  try {
    FATHOM_USER_CHECK(2 < 1, "--top-k must be positive, got {}", -3);
    FAIL();
  } catch (const UserError& e) {
    EXPECT_STREQ(e.what(), "--top-k must be positive, got -3");
  }
}

TEST(Error, CheckNamesFileAndCondition) {
  try {
    FATHOM_CHECK(2 < 1, "sum is {}", 7);
    FAIL();
  } catch (const InvariantError& e) {
    EXPECT_THAT(std::string(e.what()), ::testing::HasSubstr("error_test.cc"));
  }
}

}  // namespace
}  // namespace fathom
