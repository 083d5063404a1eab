// The program around the verbs: help, version, errors to exit codes.
#pragma once

namespace fathom {

inline constexpr int kExitDone = 0;
inline constexpr int kExitMachine = 1;       // no memory, full disk, a broken invariant
inline constexpr int kExitUser = 2;          // the user's mistake
inline constexpr int kExitInterrupted = 130;  // Ctrl-C, as shells count it

// Runs `fathom VERB [options]`. Never throws: an error is one line `error: ...` on stderr and an exit code.
int RunProgram(int argc, char** argv);

}  // namespace fathom
