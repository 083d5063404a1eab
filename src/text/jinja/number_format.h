// Numbers in a given width, precision and base, as printf and format() of Python write them.
#pragma once

#include <cstdint>
#include <string>

#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

struct FormatOptions {
  char32_t fill = ' ';
  char align = 0;      // '<', '>', '^', '=' or 0: the default of the type
  char sign = '-';     // '-', '+' or ' '
  bool alternate = false;
  char group = 0;      // ',' or '_'
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

// Digits of `value`'s magnitude in base 2, 8, 10 or 16.
std::string MagnitudeDigits(Int value, int base, bool upper);
// Magnitude of a float by type e, E, f, F, g, G; no sign.
std::string FloatDigits(double value, char type, int64_t precision, bool alternate);
// Puts sign, prefix and digits into the width.
std::string PadNumber(bool negative, const std::string& prefix, std::string digits, const FormatOptions& options, Budget& budget);
std::string PadText(const std::string& text, const FormatOptions& options, char default_align, Budget& budget);

}  // namespace fathom::jinja
