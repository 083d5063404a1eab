#include "cli/arguments.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cctype>
#include <cmath>
#include <iterator>
#include <map>

#include "base/error.h"
#include "base/nearest_name.h"

namespace fathom {
namespace {

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_min() > 0; }
bool IsList(const CLI::Option& option) { return option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll; }
bool LooksLikeFlag(const std::string& arg) { return arg.size() > 2 && arg[0] == '-' && arg[1] == '-'; }

std::vector<std::string> FlagNames(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

int64_t CountPositionals(const CLI::App& verb) {
  int64_t count = 0;
  for (const CLI::Option* option : verb.get_options()) {
    if (option->get_positional()) count += option->get_items_expected_max();
  }
  return count;
}

[[noreturn]] void RefuseUnknownFlag(const std::string& flag, const CLI::App& verb) {
  const std::string nearest = NearestName(flag, FlagNames(verb));
  ThrowUserError("unknown flag {} of `fathom {}`{}", flag, verb.get_name(),
                 nearest.empty() ? fmt::format("; `fathom {} --help` lists its flags", verb.get_name())
                                 : fmt::format(" (did you mean {}?)", nearest));
}

}  // namespace

bool AsksForHelp(const std::vector<std::string>& args, const CLI::App& verb) {
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--") return false;
    if (args[i] == "--help" || args[i] == "-h") return true;
    if (!LooksLikeFlag(args[i])) continue;
    std::string name = args[i];
    std::replace(name.begin(), name.end(), '_', '-');
    const CLI::Option* option = verb.get_option_no_throw(name);
    if (option != nullptr && TakesValue(*option)) ++i;  // its value, whatever it looks like
  }
  return false;
}

std::vector<std::string> NormalizeArguments(std::vector<std::string> args, const CLI::App& verb) {
  std::vector<std::string> result;
  std::map<std::string, int> times;
  int64_t positionals_left = CountPositionals(verb);
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "--") {
      result.insert(result.end(), args.begin() + static_cast<std::ptrdiff_t>(i), args.end());
      break;
    }
    if (!LooksLikeFlag(arg)) {
      if (arg.size() > 1 && arg[0] == '-' && !std::isdigit(static_cast<unsigned char>(arg[1]))) RefuseUnknownFlag(arg, verb);
      FATHOM_USER_CHECK(positionals_left-- > 0, "unexpected argument '{}' of `fathom {}`", arg, verb.get_name());
      result.push_back(arg);
      continue;
    }
    const size_t equals = arg.find('=');
    std::string flag = arg.substr(0, equals);
    std::replace(flag.begin(), flag.end(), '_', '-');
    const CLI::Option* option = verb.get_option_no_throw(flag);
    if (option == nullptr) RefuseUnknownFlag(arg.substr(0, equals), verb);
    if (!TakesValue(*option)) {
      FATHOM_USER_CHECK(equals == std::string::npos, "{} takes no value, got '{}'", flag, arg.substr(equals + 1));
      if (++times[flag] == 1) result.push_back(flag);
      continue;
    }
    FATHOM_USER_CHECK(++times[flag] == 1 || IsList(*option), "{} may be given once, got it twice", flag);
    if (equals != std::string::npos) {
      result.push_back(flag);
      result.push_back(arg.substr(equals + 1));
      continue;
    }
    FATHOM_USER_CHECK(i + 1 < args.size(), "{} needs a value, got none", flag);
    result.push_back(flag);
    result.push_back(args[++i]);
    while (IsList(*option) && i + 1 < args.size() && !LooksLikeFlag(args[i + 1])) {
      result.push_back(flag);
      result.push_back(args[++i]);
    }
  }
  return result;
}

CLI::Option* AddText(CLI::App& verb, const std::string& name, std::string& value, const std::string& help) {
  return verb.add_option_function<std::string>(name, [&value](const std::string& text) { value = text; }, help)->type_name("TEXT");
}

CLI::Option* AddTexts(CLI::App& verb, const std::string& name, std::vector<std::string>& values, const std::string& help) {
  CLI::Option* option = verb.add_option(name, values, help);
  return option->expected(1)->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->type_name("TEXT...");
}

CLI::Option* AddSwitch(CLI::App& verb, const std::string& name, bool& value, const std::string& help) {
  return verb.add_flag(name, value, help);
}

int64_t ParseInteger(const std::string& name, const std::string& text, int64_t least, int64_t most) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  const bool fits = error == std::errc() && stopped == end && value >= least && value <= most;
  if (!fits && most == std::numeric_limits<int64_t>::max()) {
    ThrowUserError("{} must be an integer of at least {}, got '{}'", name, least, text);
  }
  FATHOM_USER_CHECK(fits, "{} must be an integer from {} to {}, got '{}'", name, least, most, text);
  return value;
}

double ParseNumber(const std::string& name, const std::string& text, NumberRule rule) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  const bool is_number = error == std::errc() && stopped == end && std::isfinite(value);
  FATHOM_USER_CHECK(is_number, "{} must be a number, got '{}'", name, text);
  if (rule.above) {
    FATHOM_USER_CHECK(value > rule.least, "{} must be above {}, got {}", name, rule.least, text);
  } else {
    FATHOM_USER_CHECK(value >= rule.least, "{} must be at least {}, got {}", name, rule.least, text);
  }
  FATHOM_USER_CHECK(value <= rule.most, "{} must be at most {}, got {}", name, rule.most, text);
  return value;
}

CLI::Option* AddInteger(CLI::App& verb, const std::string& name, int64_t& value, const std::string& help, int64_t least, int64_t most) {
  const auto set = [=, &value](const std::string& text) { value = ParseInteger(name, text, least, most); };
  return verb.add_option_function<std::string>(name, set, help)->type_name("N");
}

CLI::Option* AddNumber(CLI::App& verb, const std::string& name, double& value, const std::string& help, NumberRule rule) {
  const auto set = [=, &value](const std::string& text) { value = ParseNumber(name, text, rule); };
  return verb.add_option_function<std::string>(name, set, help)->type_name("X");
}

std::vector<int32_t> ParseTokenIds(const std::string& name, const std::string& text) {
  std::vector<int32_t> ids;
  size_t start = 0;
  while (start <= text.size() && text.find_first_not_of(" \t\n") != std::string::npos) {
    const size_t comma = std::min(text.find(',', start), text.size());
    std::string piece = text.substr(start, comma - start);
    piece.erase(0, piece.find_first_not_of(" \t\n"));
    piece.erase(piece.find_last_not_of(" \t\n") + 1);
    ids.push_back(static_cast<int32_t>(
        ParseInteger("every id of " + name, piece, 0, std::numeric_limits<int32_t>::max())));
    start = comma + 1;
  }
  return ids;
}

}  // namespace fathom
