// Three of xgrammar's front ends are not compiled: JSON Schemas and regular expressions become EBNF in src/engine (schema_grammar.h, regex_grammar.h). What
// refers to them there is never called.
#include <stdexcept>

#include "json_schema_converter.h"
#include "regex_converter.h"
#include "structural_tag.h"

namespace xgrammar {

std::string JSONSchemaToEBNF(const std::string&, bool, std::optional<int>, std::optional<std::pair<std::string, std::string>>, bool, std::optional<int>, JSONFormat) {
  throw std::logic_error("xgrammar's JSON Schemas are not compiled in");
}

std::string RegexToEBNF(const std::string&, bool) { throw std::logic_error("xgrammar's regular expressions are not compiled in"); }

Result<Grammar, StructuralTagError> StructuralTagToGrammar(const std::string&) { throw std::logic_error("xgrammar's structural tags are not compiled in"); }

}  // namespace xgrammar
