// A parsed template and its rendering: the interpreter's front, without the files and the conventions of chat.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

struct TemplateTree;

Value FromJson(const OrderedJson& json);

// Immutable and safe to share between threads.
class Template {
 public:
  // Throws UserError "NAME: line N: cause".
  Template(const std::string& source, std::string name);
  ~Template();
  // `variables` is a JSON object. Throws UserError "NAME: line N: cause", also when it takes more than `max_steps` (see Budget).
  std::string Render(const OrderedJson& variables, int64_t max_steps = Budget::kMaxSteps) const;

 private:
  std::string name_;
  std::unique_ptr<TemplateTree> tree_;
};

}  // namespace fathom::jinja
