#include "serve/sessions.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <string_view>

#include "base/error.h"

namespace fathom {
namespace {

constexpr int kBusyMs = 5000;  // for another process that writes the same file

}  // namespace

// One prepared statement with its values bound; throws MachineError naming the file.
class Sessions::Statement {
 public:
  Statement(Sessions& sessions, const char* sql) : sessions_(sessions) { Check(sqlite3_prepare_v2(sessions.database_.get(), sql, -1, &statement_, nullptr)); }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Bind(std::string_view text) {
    Check(sqlite3_bind_text64(statement_, ++num_bound_, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
    return *this;
  }
  Statement& Bind(double value) {
    Check(sqlite3_bind_double(statement_, ++num_bound_, value));
    return *this;
  }
  Statement& Bind(int64_t value) {
    Check(sqlite3_bind_int64(statement_, ++num_bound_, value));
    return *this;
  }
  // True: a row is there.
  bool Step() {
    const int status = sqlite3_step(statement_);
    if (status != SQLITE_ROW && status != SQLITE_DONE) Check(status);
    return status == SQLITE_ROW;
  }
  std::string Text(int column) const {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return text == nullptr ? std::string() : std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
  }

 private:
  void Check(int status) {
    if (status != SQLITE_OK) ThrowMachineError("sessions in {}: {}", sessions_.options_.file.string(), sqlite3_errmsg(sessions_.database_.get()));
  }
  Sessions& sessions_;
  sqlite3_stmt* statement_ = nullptr;
  int num_bound_ = 0;
};

Sessions::Sessions(const SessionOptions& options) : options_(options), database_(nullptr, sqlite3_close) {
  const mode_t before = ::umask(0077);  // conversations are private
  sqlite3* opened = nullptr;
  const int status = sqlite3_open(options.file.c_str(), &opened);
  database_.reset(opened);
  ::umask(before);
  FATHOM_USER_CHECK(status == SQLITE_OK, "--sessions {}: {}", options.file.string(), sqlite3_errmsg(opened));
  sqlite3_busy_timeout(opened, kBusyMs);
  try {
    Execute("PRAGMA journal_mode = WAL");
    Execute("PRAGMA synchronous = FULL");
    Execute("CREATE TABLE IF NOT EXISTS session (owner TEXT, id TEXT, system TEXT, last REAL, PRIMARY KEY (owner, id)) WITHOUT ROWID");
    Execute("CREATE TABLE IF NOT EXISTS turn (number INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT, id TEXT, messages TEXT)");
    Execute("CREATE INDEX IF NOT EXISTS turn_of_session ON turn (owner, id, number)");
    Execute("CREATE INDEX IF NOT EXISTS session_by_age ON session (last)");
  } catch (const MachineError& error) {
    ThrowUserError("--sessions: {}", error.what());
  }
}

Sessions::~Sessions() = default;

void Sessions::Execute(const char* sql) {
  Statement statement(*this, sql);
  while (statement.Step()) {
  }
}

void Sessions::ForgetExpired(double now) {
  const double oldest = now - options_.expiry_seconds;
  Statement(*this, "DELETE FROM turn WHERE EXISTS (SELECT 1 FROM session s WHERE s.last < ? AND s.owner = turn.owner AND s.id = turn.id)").Bind(oldest).Step();
  Statement(*this, "DELETE FROM session WHERE last < ?").Bind(oldest).Step();
}

Sessions::Session Sessions::Load(const std::string& owner, const std::string& id, double now) {
  const std::lock_guard lock(mutex_);
  Session session;
  Statement found(*this, "SELECT system FROM session WHERE owner = ? AND id = ? AND last >= ?");
  if (!found.Bind(owner).Bind(id).Bind(now - options_.expiry_seconds).Step()) return session;
  session.system = found.Text(0);
  Statement turns(*this, "SELECT messages FROM (SELECT number, messages FROM turn WHERE owner = ? AND id = ? ORDER BY number DESC LIMIT ?) ORDER BY number");
  turns.Bind(owner).Bind(id).Bind(options_.max_turns);
  while (turns.Step()) session.turns.push_back(ParseOrderedJson(turns.Text(0), options_.file.string()));
  return session;
}

void Sessions::Append(const std::string& owner, const std::string& id, const std::string& system, const OrderedJson& turn, double now) {
  const std::string messages = turn.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  const std::lock_guard lock(mutex_);
  Execute("BEGIN IMMEDIATE");
  try {
    ForgetExpired(now);
    Statement(*this, "INSERT INTO session VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET last = ?4, system = CASE ?3 WHEN '' THEN system ELSE ?3 END")
        .Bind(owner).Bind(id).Bind(system).Bind(now).Step();
    Statement(*this, "INSERT INTO turn (owner, id, messages) VALUES (?, ?, ?)").Bind(owner).Bind(id).Bind(messages).Step();
    Statement(*this, "DELETE FROM turn WHERE owner = ?1 AND id = ?2 AND number NOT IN (SELECT number FROM turn WHERE owner = ?1 AND id = ?2 ORDER BY number DESC LIMIT ?3)")
        .Bind(owner).Bind(id).Bind(options_.max_turns).Step();
    Execute("COMMIT");
  } catch (...) {
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

bool Sessions::Remove(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  Statement(*this, "DELETE FROM turn WHERE owner = ? AND id = ?").Bind(owner).Bind(id).Step();
  Statement(*this, "DELETE FROM session WHERE owner = ? AND id = ?").Bind(owner).Bind(id).Step();
  return sqlite3_changes(database_.get()) > 0;
}

}  // namespace fathom
