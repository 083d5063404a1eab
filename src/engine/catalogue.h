// Models that install by name: what they are, where they come from, and where an installed one lies. And the one rule that turns the
// M of `--model M` into a path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fathom {

struct CatalogueEntry {
  std::string name;         // what --model takes
  std::string description;
  std::string package;      // of PyPI, with its version
  std::string file_folder;  // under site-packages; the model is its one .gguf file
  int64_t num_bytes = 0;
  std::string licence;
  std::string origin;
};

// The first is the default model.
const std::vector<CatalogueEntry>& Catalogue();

// The file of an installed entry: .venv/lib/python3*/site-packages/<file_folder>/*.gguf, where .venv stands in the source tree that the
// program was built from, or in the parent folder of the program's own.
std::optional<std::filesystem::path> FindInstalled(const CatalogueEntry& entry);

// The path of a model: an existing folder, an existing .gguf file, or a catalogue name. Empty: FATHOM_MODEL of the environment, else the
// default model. Throws UserError that says what was looked for.
std::filesystem::path ResolveModelPath(const std::string& model);

}  // namespace fathom
