// fathom models: the catalogue.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/json_output.h"
#include "cli/verb_options.h"
#include "cli/verbs.h"
#include "engine/catalogue.h"

namespace fathom {
namespace {

struct ModelsFlags {
  std::string action = "list", name;
};

std::string FormatBytes(int64_t bytes) { return fmt::format("{:.0f} MB", static_cast<double>(bytes) / 1e6); }

int ListModels(bool json) {
  if (!json) std::printf("%-24s %-10s %-8s %-12s %s\n", "NAME", "INSTALLED", "SIZE", "LICENCE", "ORIGIN");
  Json models = Json::array();
  for (const CatalogueEntry& entry : Catalogue()) {
    const auto path = FindInstalled(entry);
    const int64_t num_bytes = path ? static_cast<int64_t>(std::filesystem::file_size(*path)) : entry.num_bytes;
    if (!json) {
      std::printf("%-24s %-10s %-8s %-12s %s\n", entry.name.c_str(), path ? "yes" : "no", FormatBytes(num_bytes).c_str(),
                  entry.licence.c_str(), entry.origin.c_str());
    }
    models.push_back({{"name", entry.name},
                      {"description", entry.description},
                      {"installed", path.has_value()},
                      {"path", path ? Json(path->string()) : Json()},
                      {"bytes", num_bytes},
                      {"licence", entry.licence},
                      {"origin", entry.origin},
                      {"package", entry.package}});
  }
  if (json) PrintJson(Json{{"models", models}});
  return 0;
}

int RunModels(const ModelsFlags& flags, bool json) {
  FATHOM_USER_CHECK(flags.action == "list" || flags.action == "path", "`fathom models` takes nothing or `path NAME`, got '{}'",
                    flags.action);
  if (flags.action == "list") {
    FATHOM_USER_CHECK(flags.name.empty(), "unexpected argument '{}' of `fathom models list`", flags.name);
    return ListModels(json);
  }
  FATHOM_USER_CHECK(!flags.name.empty(), "`fathom models path NAME` needs a name, got none");
  const auto entry = std::find_if(Catalogue().begin(), Catalogue().end(), [&](const auto& e) { return e.name == flags.name; });
  FATHOM_USER_CHECK(entry != Catalogue().end(), "`fathom models path`: '{}' is not in the catalogue; `fathom models` lists it", flags.name);
  const std::string path = ResolveModelPath(flags.name).string();
  if (json) PrintJson(Json{{"name", flags.name}, {"path", path}});
  else std::puts(path.c_str());
  return 0;
}

}  // namespace

VerbFunction AddModels(CLI::App& app, CommonOptions& common) {
  auto flags = std::make_shared<ModelsFlags>();
  CLI::App* verb = app.add_subcommand("models", "the catalogue: what is installed, its size, licence and origin");
  verb->add_option("action", flags->action, "`path` prints where NAME lies")->type_name("");
  verb->add_option("name", flags->name, "a name of the catalogue")->type_name("");
  AddCommonOptions(*verb, common, kJsonFlag);
  verb->footer("Examples:\n  fathom models\n  fathom models path smollm2-135m-instruct");
  return [flags, &common] { return RunModels(*flags, common.json); };
}

}  // namespace fathom
