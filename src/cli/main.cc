// fathom VERB [options]: parses, calls one verb, turns errors into one line and an exit code.
#include <cstdlib>

#include "cli/program.h"

int main(int argc, char** argv) {
  // Weights on huge pages: decode reads all of them for every token (5% faster with 2 MB pages). LibTorch's allocator asks once, at its first use.
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", 0);
  return fathom::RunProgram(argc, argv);
}
