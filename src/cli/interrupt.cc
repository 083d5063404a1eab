#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "cli/program.h"

namespace fathom {
namespace {

std::atomic<int> num_signals{0};  // lock-free: a signal handler may touch it
static_assert(std::atomic<int>::is_always_lock_free);
struct sigaction previous_interrupt, previous_terminate;

void OnSignal(int) {
  if (num_signals.fetch_add(1) > 0) _exit(kExitInterrupted);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  Clear();
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;  // a signal amid a write to a slow reader must not lose output; who waits for input polls, which a signal ends all the same
  sigaction(SIGINT, &action, &previous_interrupt);
  sigaction(SIGTERM, &action, &previous_terminate);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &previous_interrupt, nullptr);
  sigaction(SIGTERM, &previous_terminate, nullptr);
}

bool InterruptGuard::Interrupted() { return num_signals.load() > 0; }
void InterruptGuard::Clear() { num_signals.store(0); }

}  // namespace fathom
