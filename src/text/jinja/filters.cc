#include "text/jinja/filters.h"

#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

struct Generator : IteratorObject {
  std::function<bool(Value*)> next;
  bool done = false;
  bool Next(Value* item) override {
    if (done) return false;
    done = true;  // also when an error ends it
    if (!next(item)) return false;
    done = false;
    return true;
  }
};

}  // namespace

Value MakeGenerator(std::function<bool(Value*)> next, const char* type_name) {
  auto* generator = new Generator;
  generator->next = std::move(next);
  generator->type_name = type_name;
  return Value::Of(Kind::kIterator, generator);
}

FilterFunction FindFilter(const std::string& name) {
  for (const FilterTable* table : {&TextFilters(), &MarkupFilters(), &NumberFilters(), &SequenceFilters(), &SelectionFilters()}) {
    const auto it = table->find(name);
    if (it != table->end()) return it->second;
  }
  return nullptr;
}

}  // namespace fathom::jinja
