// One line of JSON on stdout: what --json prints.
#pragma once

#include <cstdio>
#include <string>

namespace fathom {

// J is Json or OrderedJson. Bytes that are no UTF-8 (of a path, say) become U+FFFD.
template <typename J>
void PrintJson(const J& json) {
  const std::string line = json.dump(-1, ' ', false, J::error_handler_t::replace) + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
}

}  // namespace fathom
