#include "data/spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"

namespace fathom {
namespace {

std::vector<std::string> Cut(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at) parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

std::vector<std::string> ParsePaths(const Yaml& node) {
  std::vector<std::string> paths;
  if (node.is_list()) {
    for (const Yaml& item : node.Items()) paths.push_back(item.AsString());
  } else {
    paths.push_back(node.AsString());
  }
  if (paths.empty() || std::find(paths.begin(), paths.end(), "") != paths.end()) node.Fail("must be a path, or a list of paths");
  return paths;
}

SourceSpec ParseSource(const Yaml& node) {
  if (!node.is_map()) {  // a path alone
    SourceSpec source;
    source.paths = ParsePaths(node);
    source.name = source.paths.front();
    return source;
  }
  node.AllowKeys({"name", "path", "domain", "weight", "epochs", "text_field", "documents"});
  SourceSpec source;
  source.paths = ParsePaths(node.Get("path"));
  source.name = node.GetString("name", source.paths.front());
  source.domain = node.GetString("domain", source.domain);
  if (source.domain.empty() || source.domain.find_first_of(": ") != std::string::npos)
    node.Get("domain").Fail("must be a name without blanks and colons, got '{}'", source.domain);
  source.weight = node.GetNumber("weight", 0, 0, 1e9);
  if (node.Find("weight") && source.weight == 0) node.Get("weight").Fail("must be above 0; leave the source out instead");
  source.epochs = node.GetNumber("epochs", 0, 0, 1e6);
  if (node.Find("epochs") && source.epochs == 0) node.Get("epochs").Fail("must be above 0; without it a source is repeated as often as the run asks");
  source.text_field = node.GetString("text_field", source.text_field);
  if (const auto unit = node.Find("documents")) source.unit = ParseDocumentUnit(unit->AsString(), unit->Where());
  return source;
}

FimSpec ParseFim(const Yaml& node) {
  if (!node.is_map()) return {.rate = node.AsNumber(0, 1)};
  node.AllowKeys({"rate", "begin", "hole", "end"});
  FimSpec fim{.rate = node.Get("rate").AsNumber(0, 1), .begin = node.GetString("begin", ""), .hole = node.GetString("hole", ""), .end = node.GetString("end", "")};
  if (fim.begin.empty() != fim.hole.empty() || fim.begin.empty() != fim.end.empty()) node.Fail("needs all of begin, hole and end, or none of them");
  return fim;
}

void Normalize(std::vector<std::pair<std::string, double>>& mixture) {
  double sum = 0;
  for (const auto& [domain, share] : mixture) sum += share;
  for (auto& [domain, share] : mixture) share /= sum;
}

std::vector<std::pair<std::string, double>> ParseMixtureNode(const Yaml& node) {
  if (!node.is_map()) return ParseMixture(node.AsString(), node.Where());
  std::vector<std::pair<std::string, double>> mixture;
  for (const auto& [domain, share] : node.Entries()) {
    mixture.emplace_back(domain, share.AsNumber(0, 1e9));
    if (mixture.back().second == 0) share.Fail("must be above 0; leave the domain's sources out instead");
  }
  if (mixture.empty()) node.Fail("needs a share for each domain");
  Normalize(mixture);
  return mixture;
}

void CheckMixture(const DataSpec& spec, const Yaml& node) {
  std::set<std::string> domains, named;
  for (const SourceSpec& source : spec.sources) domains.insert(source.domain);
  for (const auto& [domain, share] : spec.mixture) {
    if (!domains.contains(domain)) node.Fail("no source is of the domain '{}'; the sources' are {}", domain, fmt::join(domains, ", "));
    named.insert(domain);
  }
  for (const std::string& domain : domains)
    if (!named.contains(domain)) node.Fail("has no share for the domain '{}'", domain);
}

// All or none of those that are weighed against each other.
void CheckWeights(const DataSpec& spec, const Yaml& section) {
  std::map<std::string, std::pair<int, int>> counts;  // with a weight, all
  for (const SourceSpec& source : spec.sources) {
    auto& [with, all] = counts[spec.mixture.empty() ? "" : source.domain];
    with += source.weight > 0;
    ++all;
  }
  for (const auto& [domain, count] : counts)
    if (count.first != 0 && count.first != count.second)
      section.Get("sources").Fail("{} of {} sources{} have a weight: give all of them one, or none", count.first, count.second,
                                  domain.empty() ? "" : " of the domain '" + domain + "'");
}

}  // namespace

const char* NameOf(DocumentUnit unit) {
  switch (unit) {
    case DocumentUnit::kFile: return "file";
    case DocumentUnit::kLine: return "line";
    case DocumentUnit::kParagraph: return "paragraph";
    case DocumentUnit::kChunk: return "chunk";
  }
  return "";
}

DocumentUnit ParseDocumentUnit(const std::string& text, const std::string& what) {
  for (const DocumentUnit unit : {DocumentUnit::kFile, DocumentUnit::kLine, DocumentUnit::kParagraph, DocumentUnit::kChunk})
    if (text == NameOf(unit)) return unit;
  ThrowUserError("{}: must be file, line, paragraph or chunk, got '{}'", what, text);
}

std::vector<std::pair<std::string, double>> ParseMixture(const std::string& text, const std::string& what) {
  const size_t blank = text.find_first_of(" \t");
  FATHOM_USER_CHECK(blank != std::string::npos, "{}: must be names and shares such as \"code:general 3:7\", got '{}'", what, text);
  const std::vector<std::string> names = Cut(text.substr(0, blank), ':');
  const std::vector<std::string> shares = Cut(text.substr(text.find_last_of(" \t") + 1), ':');
  FATHOM_USER_CHECK(text.find_first_not_of(" \t", blank) == text.find_last_of(" \t") + 1 && names.size() == shares.size(),
                    "{}: must be as many names as shares, with a blank between, got '{}'", what, text);
  std::vector<std::pair<std::string, double>> mixture;
  for (size_t i = 0; i < names.size(); ++i) {
    double share = 0;
    const char* end = shares[i].data() + shares[i].size();
    const auto [stopped, error] = std::from_chars(shares[i].data(), end, share);
    FATHOM_USER_CHECK(error == std::errc() && stopped == end && share > 0 && share <= 1e9, "{}: a share must be a number above 0, got '{}'", what, shares[i]);
    FATHOM_USER_CHECK(!names[i].empty(), "{}: a domain's name is empty in '{}'", what, text);
    for (const auto& [name, other] : mixture) FATHOM_USER_CHECK(name != names[i], "{}: the domain '{}' stands twice", what, name);
    mixture.emplace_back(names[i], share);
  }
  Normalize(mixture);
  return mixture;
}

DataSpec ParseDataSpec(const Yaml& section) {
  section.AllowKeys({"sources", "mixture", "held_out", "document_mask", "add_bos", "fim"});
  DataSpec spec;
  std::set<std::string> names;
  for (const Yaml& item : section.Get("sources").Items()) {
    spec.sources.push_back(ParseSource(item));
    if (!names.insert(spec.sources.back().name).second) item.Fail("the name '{}' stands twice; `name` tells sources apart", spec.sources.back().name);
  }
  if (spec.sources.empty()) section.Get("sources").Fail("needs a source");
  if (const auto mixture = section.Find("mixture")) {
    spec.mixture = ParseMixtureNode(*mixture);
    CheckMixture(spec, *mixture);
  }
  CheckWeights(spec, section);
  spec.held_out = section.GetNumber("held_out", 0, 0, 0.5);
  spec.document_mask = section.GetBool("document_mask", false);
  spec.add_bos = section.GetBool("add_bos", false);
  if (const auto fim = section.Find("fim")) spec.fim = ParseFim(*fim);
  return spec;
}

DataSpec DataSpecOfPaths(const std::vector<std::string>& paths) {
  FATHOM_USER_CHECK(!paths.empty(), "--data needs a file, a folder or a glob");
  DataSpec spec;
  std::set<std::string> seen;
  for (const std::string& path : paths) {
    FATHOM_USER_CHECK(!path.empty(), "--data: a path is empty");
    FATHOM_USER_CHECK(seen.insert(path).second, "--data: {} stands twice", path);
    SourceSpec source;
    source.name = path;
    source.paths = {path};
    spec.sources.push_back(std::move(source));
  }
  return spec;
}

}  // namespace fathom
