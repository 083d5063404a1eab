// jinja2's namespace(): the one thing that a template can change.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace fathom::jinja {

struct NamespaceObject : Object {
  DictObject attributes;
  bool printing = false;

  std::string TypeName() const override { return "Namespace"; }
  std::string Repr() override;
  Value GetAttribute(std::string_view name) override;
};

// nullptr when `value` is no namespace.
NamespaceObject* AsNamespace(const Value& value);

}  // namespace fathom::jinja
