// What a model is trained on: the `data:` section of a recipe, or a list of paths.
//
//   data:
//     mixture: "code:general 3:7"          # shares of the domains in the tokens; left out: by the sources' weights or sizes
//     held_out: 0.01                       # share of documents that validation alone reads
//     document_mask: false                 # true: a token sees its own document alone
//     fim: {rate: 0.1}                     # prefix-suffix-middle on a tenth of the documents
//     sources:
//       - {path: "code/*.jsonl.zst", domain: code, epochs: 4}
//       - {path: [books/, more.parquet], domain: general, weight: 2}
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/yaml.h"

namespace fathom {

// How a text file becomes documents: the whole file, each line, each paragraph (blank lines between), or chunks of about 16 KiB that end at a line's
// end. JSON lines and Parquet have a document a row.
enum class DocumentUnit { kFile, kLine, kParagraph, kChunk };

struct SourceSpec {
  std::string name;                // by default the first path; in errors, logs and positions
  std::vector<std::string> paths;  // files, folders (everything below that has a known ending) and globs; or one folder that `data tokenize` wrote
  std::string domain = "general";
  double weight = 0;               // share beside the other sources (of its domain); 0: in proportion to its tokens
  double epochs = 0;               // how often a document may be read, 0.5 is every second one; 0: as often as the run asks
  std::string text_field = "text"; // of JSON lines and Parquet
  DocumentUnit unit = DocumentUnit::kFile;
};

// Fill in the middle (Bavarian et al., arXiv 2207.14255; DeepSeek-V3, arXiv 2412.19437, 4.1): a document becomes
// <begin> prefix <hole> suffix <end> middle. Cut at two random characters, tokenised again, before documents are packed.
struct FimSpec {
  double rate = 0;  // share of documents
  // Tokens' names; empty: those of DeepSeek or of Qwen and StarCoder, whichever the tokenizer has.
  std::string begin, hole, end;
};

struct DataSpec {
  std::vector<SourceSpec> sources;
  std::vector<std::pair<std::string, double>> mixture;  // domain, share (they add up to 1); empty: none was given
  double held_out = 0;
  bool document_mask = false;
  bool add_bos = false;  // a BOS before each document; the EOS behind each is always there
  FimSpec fim;
};

// Throw UserError with file and line for keys that are not known, values out of range, a mixture that names other domains than the sources,
// and weights that some sources of a domain have and others have not.
DataSpec ParseDataSpec(const Yaml& section);
// Sources of `--data A B ...`: a source for each path, in proportion to their sizes.
DataSpec DataSpecOfPaths(const std::vector<std::string>& paths);
// "code:general 3:7" to {code, 0.3}, {general, 0.7}. `what` names it in errors.
std::vector<std::pair<std::string, double>> ParseMixture(const std::string& text, const std::string& what);
DocumentUnit ParseDocumentUnit(const std::string& text, const std::string& what);
const char* NameOf(DocumentUnit unit);

}  // namespace fathom
