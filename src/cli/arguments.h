// Flags of a verb: adding them with their rules, and making the command line exact before CLI11 reads it. In every flag `_` and `-` are
// the same. Every mistake is a UserError that names the flag, the rule and the value.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace fathom {

bool AsksForHelp(const std::vector<std::string>& args, const CLI::App& verb);

// Splits --flag=value, writes `-` for `_` in flags (not in values), repeats a list's flag before each of its values, and refuses what is
// unknown, twice or without its value. Positional arguments stay.
std::vector<std::string> NormalizeArguments(std::vector<std::string> args, const CLI::App& verb);

// --name TEXT, any text (empty too).
CLI::Option* AddText(CLI::App& verb, const std::string& name, std::string& value, const std::string& help);
// --name A B ... or several times --name A: appended to `values`.
CLI::Option* AddTexts(CLI::App& verb, const std::string& name, std::vector<std::string>& values, const std::string& help);
// --name, true when given.
CLI::Option* AddSwitch(CLI::App& verb, const std::string& name, bool& value, const std::string& help);

// --name N, an integer in [least, most].
CLI::Option* AddInteger(CLI::App& verb, const std::string& name, int64_t& value, const std::string& help, int64_t least,
                        int64_t most = std::numeric_limits<int64_t>::max());
// --name X, a finite number in [least, most], or (least, most] with `above`.
struct NumberRule {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool above = false;
};
CLI::Option* AddNumber(CLI::App& verb, const std::string& name, double& value, const std::string& help, NumberRule rule);

// Parse a flag's value. Throw UserError "--name must be ..., got '...'".
int64_t ParseInteger(const std::string& name, const std::string& text, int64_t least, int64_t most);
double ParseNumber(const std::string& name, const std::string& text, NumberRule rule);
// "1,2,3" (spaces allowed); every one in [0, 2^31).
std::vector<int32_t> ParseTokenIds(const std::string& name, const std::string& text);

}  // namespace fathom
