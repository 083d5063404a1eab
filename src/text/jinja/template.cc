#include "text/jinja/template.h"

#include "base/error.h"
#include "text/jinja/errors.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/lexer.h"
#include "text/jinja/parser.h"
#include "text/jinja/printing.h"

namespace fathom::jinja {

Value FromJson(const OrderedJson& json) {
  const NestingGuard guard;
  switch (json.type()) {
    case OrderedJson::value_t::boolean: return Value::Bool(json.get<bool>());
    case OrderedJson::value_t::number_integer: return Value::Integer(json.get<int64_t>());
    case OrderedJson::value_t::number_unsigned: return Value::Integer(json.get<uint64_t>());
    case OrderedJson::value_t::number_float: return Value::Float(json.get<double>());
    case OrderedJson::value_t::string: return Value::String(json.get_ref<const std::string&>());
    case OrderedJson::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const OrderedJson& item : json) items.push_back(FromJson(item));
      return Value::List(std::move(items));
    }
    case OrderedJson::value_t::object: {
      Ref<DictObject> dict(new DictObject);
      for (const auto& [key, value] : json.items()) dict->Set(Value::String(key), FromJson(value));
      return Value::Of(Kind::kDict, dict.get());
    }
    default: return Value::None();
  }
}

Template::Template(const std::string& source, std::string name) : name_(std::move(name)) {
  try {
    tree_ = ParseTemplate(source);
  } catch (const SyntaxError& error) {
    ThrowUserError("{}: line {}: {}", name_, error.line(), error.what());
  }
}

Template::~Template() = default;

std::string Template::Render(const OrderedJson& variables, int64_t max_steps) const {
  Value context;
  try {
    context = FromJson(variables);
  } catch (const RenderError& error) {
    ThrowUserError("{}: {}", name_, error.what());
  }
  FATHOM_CHECK(context.Is(Kind::kDict), "the variables of a template are an object");
  Interpreter interpreter(*tree_, context.dict(), max_steps);
  try {
    return interpreter.Render();
  } catch (const RenderError& error) {
    ThrowUserError("{}: line {}: {}", name_, interpreter.line(), error.what());
  }
}

}  // namespace fathom::jinja
