#include "cli/verbs.h"

namespace fathom {

// One file a verb: src/cli/NAME.cc.
VerbFunction AddChat(CLI::App& app, CommonOptions& common);
VerbFunction AddGenerate(CLI::App& app, CommonOptions& common);
VerbFunction AddServe(CLI::App& app, CommonOptions& common);
VerbFunction AddScore(CLI::App& app, CommonOptions& common);
VerbFunction AddConvert(CLI::App& app, CommonOptions& common);
VerbFunction AddInspect(CLI::App& app, CommonOptions& common);
VerbFunction AddTokenize(CLI::App& app, CommonOptions& common);
VerbFunction AddData(CLI::App& app, CommonOptions& common);
VerbFunction AddTokenizer(CLI::App& app, CommonOptions& common);
VerbFunction AddModels(CLI::App& app, CommonOptions& common);
VerbFunction AddPretrain(CLI::App& app, CommonOptions& common);
VerbFunction AddBench(CLI::App& app, CommonOptions& common);
VerbFunction AddDoctor(CLI::App& app, CommonOptions& common);

const std::vector<Verb>& Verbs() {
  static const std::vector<Verb> kVerbs = {
      {"chat", AddChat},
      {"generate", AddGenerate},
      {"serve", AddServe},
      {"score", AddScore},
      {"tokenize", AddTokenize},
      {"inspect", AddInspect},
      {"convert", AddConvert},
      {"data", AddData},
      {"tokenizer", AddTokenizer},
      {"models", AddModels},
      {"pretrain", AddPretrain},
      {"bench", AddBench},
      {"doctor", AddDoctor},
  };
  return kVerbs;
}

}  // namespace fathom
