#include "cli/verbs.h"

namespace fathom {

// One file a verb: src/cli/NAME.cc.
VerbFunction AddConvert(CLI::App& app, CommonOptions& common);
VerbFunction AddInspect(CLI::App& app, CommonOptions& common);
VerbFunction AddTokenize(CLI::App& app, CommonOptions& common);
VerbFunction AddModels(CLI::App& app, CommonOptions& common);

const std::vector<Verb>& Verbs() {
  static const std::vector<Verb> kVerbs = {
      {"tokenize", AddTokenize},
      {"inspect", AddInspect},
      {"convert", AddConvert},
      {"models", AddModels},
  };
  return kVerbs;
}

}  // namespace fathom
