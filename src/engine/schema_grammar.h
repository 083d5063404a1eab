// JSON Schemas as EBNF.
#pragma once

#include <string>

#include "base/json.h"
#include "engine/ebnf.h"

namespace fathom {

// Adds the rules of JSON texts that the schema (draft 2020-12) lets, and gives an EBNF expression for them. Every text of the grammar is valid by the schema;
// of the valid texts the grammar has those an answer needs: properties come in the schema's order, those that it does not list only where
// additionalProperties lets them in so many words, patterns match whole strings, strings with a length or a pattern hold no
// escapes but where there is no other way, numbers have 16 digits at most, blanks are few.
//
// Understood: type, enum, const, properties, required, additionalProperties, patternProperties and propertyNames (alone), minProperties and maxProperties (where
// properties decide them), items, prefixItems, minItems, maxItems, minLength, maxLength, pattern, format (date, time, date-time, uuid, ipv4, email),
// minimum, maximum and their exclusive forms, anyOf, oneOf (as anyOf), allOf (by joining), $ref within the schema, also to itself. Annotations and unknown keywords
// are passed over. Throws UserError, beginning with `what` and the place in the schema, for keywords that would be broken (not, if, contains, uniqueItems, multipleOf
// and their like), schemas that nothing satisfies, and those too large.
std::string SchemaToEbnf(const OrderedJson& schema, EbnfWriter& writer, const std::string& what);

}  // namespace fathom
