// Conversations that the server keeps for clients that name a session: the last turns of each, in a file of SQLite, for as long as somebody comes
// back in time. A turn is what the client said (any messages but the system's) and what the model answered.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/json.h"

struct sqlite3;

namespace fathom {

struct SessionOptions {
  std::filesystem::path file;  // made where it is not there; readable by its owner alone
  int64_t max_turns = 5;       // of a session; older ones are forgotten
  double expiry_seconds = 24 * 3600;  // after its last turn a session is forgotten
};

// Calls come from any thread. What Append was given is on the disk when it returns: a crash later loses nothing of it.
class Sessions {
 public:
  // Throws UserError when the file cannot be opened or is no file of ours.
  explicit Sessions(const SessionOptions& options);
  ~Sessions();
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  struct Session {
    std::string system;               // the system message that was given last; empty: none
    std::vector<OrderedJson> turns;   // each an array of messages, oldest first
  };
  // `owner` parts clients from each other (one does not see another's sessions). A session that is unknown or has expired is empty. `now`: seconds since 1970.
  Session Load(const std::string& owner, const std::string& id, double now);
  // Adds a turn, and the system message where it is not empty.
  void Append(const std::string& owner, const std::string& id, const std::string& system, const OrderedJson& turn, double now);
  // False: there was none.
  bool Remove(const std::string& owner, const std::string& id);

  const SessionOptions& options() const { return options_; }

 private:
  class Statement;
  void Execute(const char* sql);
  void ForgetExpired(double now);

  SessionOptions options_;
  std::mutex mutex_;
  std::unique_ptr<sqlite3, int (*)(sqlite3*)> database_;
};

}  // namespace fathom
