#include "cli/verbs.h"

namespace fathom {

const std::vector<Verb>& Verbs() {
  static const std::vector<Verb> kVerbs = {};
  return kVerbs;
}

}  // namespace fathom
