// fathom VERB [options]: parses, calls one verb, turns errors into one line and an exit code.
#include "cli/program.h"

int main(int argc, char** argv) { return fathom::RunProgram(argc, argv); }
