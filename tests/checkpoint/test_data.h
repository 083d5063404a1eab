// The files of tests/checkpoint/data, and what a refusal says.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "places.h"

namespace fathom {

inline std::filesystem::path TestData(const std::string& name) { return SourceFolder() / "tests/checkpoint/data" / name; }

// The message of the E that `call` throws, "" (and a failed test) when it throws none.
template <typename E, typename Call>
std::string MessageOf(Call&& call) {
  try {
    call();
  } catch (const E& e) {
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace fathom
