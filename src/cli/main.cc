// fathom VERB [options]: parses, calls one verb, turns errors into one line and an exit code.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <new>

#include "base/error.h"
#include "base/log.h"
#include "cli/verbs.h"

int main(int argc, char** argv) {
  std::fprintf(stderr, "error: no verb yet\n");
  return 2;
}
