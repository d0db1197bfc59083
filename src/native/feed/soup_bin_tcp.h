/* SPDX-License-Identifier: Apache-2.0
 *
 * SoupBinTCP as sans-I/O sessions of either side: bytes and time in, events and
 * bytes to be sent out. Sequence numbers are never on the wire but in the login:
 * both sides count.
 *
 * Source: Nasdaq SoupBinTCP specification 3.00.
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "feed/soup_bin_tcp_packet.h"

namespace wp::feed {

struct SoupOptions {
  std::string username;        // at most 6 characters
  std::string password;        // at most 10
  std::string session;         // at most 10; empty: the one that is current
  uint64_t next_sequence = 1;  // first message wanted; 0: only what is new
  // A sign of life is sent after this long without another packet. 1 ms to an hour.
  int64_t heartbeat_ns = 1'000'000'000;
  // Silence after which the other side counts as dead, as does one that does not answer a login.
  int64_t timeout_ns = 15'000'000'000;

  void validate() const;  // throws wp::Error naming the field
};

enum class SoupState : uint8_t {
  kIdle,      // no connection
  kLogin,     // login sent, or awaited
  kOpen,      // logged in
  kRejected,  // the server refuses; it closes the connection
  kEnded,     // end of session, or of the login
  kDead,      // the other side is silent: close the connection
};
inline constexpr const char* kSoupStates[] = {"idle", "login", "open", "rejected", "ended", "dead"};

enum class SoupLoss : uint8_t { kSilence, kLogin };
inline constexpr const char* kSoupLosses[] = {"silence", "login"};

/* packets = messages + empty + duplicates + unsequenced + heartbeats + debug + logins +
 * logouts + end_of_session + malformed + unknown + unexpected. */
struct SoupCounters {
  uint64_t bytes = 0;
  uint64_t packets = 0;
  uint64_t messages = 0;    // sequenced, passed to the sink
  uint64_t empty = 0;       // sequenced without a byte: a sequence number and no message
  uint64_t duplicates = 0;  // sequenced again though they came before: not passed on
  uint64_t unsequenced = 0;
  uint64_t heartbeats = 0;
  uint64_t debug = 0;
  uint64_t logins = 0;  // accepted or rejected; a server's: requests
  uint64_t logouts = 0;
  uint64_t end_of_session = 0;
  uint64_t malformed = 0;   // without a type, or of a wrong length or content
  uint64_t unknown = 0;     // of a type that this side does not know
  uint64_t unexpected = 0;  // of a known type where it cannot be: before the login, after the end
  uint64_t truncated = 0;   // connections that ended within a packet
  uint64_t deaths = 0;
};

/* A client's session, over any number of connections: after a loss the next connection goes on
 * where the last one stopped. The sink is any object with
 *   login_accepted(std::string_view session, uint64_t next)
 *   login_rejected(char reason)               'A' not authorised, 'S' no such session
 *   session_change(std::string_view from, std::string_view to)   before login_accepted
 *   gap(uint64_t first, uint64_t last)        the server does not give them any more
 *   message(uint64_t seq, const uint8_t* data, size_t length, int64_t recv_time)
 *   unsequenced(const uint8_t* data, size_t length, int64_t recv_time)
 *   heartbeat(uint64_t next)
 *   end_of_session(uint64_t next)
 *   debug(const uint8_t* text, size_t length)
 *   connection_lost(SoupLoss reason)          to be closed and made again
 * It must not call back into the session. */
class SoupBinTcp {
 public:
  explicit SoupBinTcp(const SoupOptions& options = {})
      : options_((options.validate(), options)),
        session_(soup_trimmed(options.session)),
        next_(options.next_sequence) {}

  /* A new connection stands: the login is in output(). */
  void connected(int64_t now);
  /* It ended, by whichever side. */
  void disconnected();
  /* What was read of it. */
  template <class Sink>
  void on_bytes(const uint8_t* p, size_t n, int64_t now, Sink&& sink);
  /* Puts a heartbeat that is due into output(), and says when the server is dead. */
  template <class Sink>
  void on_time(int64_t now, Sink&& sink);
  /* When on_time is due next; INT64_MAX: never. */
  int64_t deadline() const;
  /* Asks the server to end the connection. */
  void logout(int64_t now);

  /* Bytes to be written to the connection; after sent(n) the rest of them. */
  std::span<const uint8_t> output() const { return {out_.data(), out_size_}; }
  void sent(size_t n);

  SoupState state() const { return state_; }
  const std::string& session() const { return session_; }  // without padding
  uint64_t next_sequence() const { return next_; }         // 0: not known yet
  const SoupCounters& counters() const { return counters_; }
  const SoupOptions& options() const { return options_; }

 private:
  template <class Sink>
  void on_packet(const uint8_t* p, size_t n, int64_t now, Sink&& sink);
  template <class Sink>
  void accepted(const uint8_t* p, Sink&& sink);
  template <class Sink>
  void sequenced(const uint8_t* p, size_t n, int64_t now, Sink&& sink);
  bool waits() const { return state_ == SoupState::kLogin || state_ == SoupState::kOpen; }
  void put(SoupType type, int64_t now);

  SoupOptions options_;
  std::string session_;  // grows to ten characters once
  uint64_t next_;        // of the next message that has not come before
  uint64_t at_ = 0;      // of the next sequenced packet of this connection
  bool over_ = false;    // the session has ended
  SoupState state_ = SoupState::kIdle;
  SoupCounters counters_;
  SoupFrames frames_;
  std::array<uint8_t, kSoupLoginSize + 2 * kSoupHeaderSize> out_{};
  size_t out_size_ = 0;
  int64_t heard_ = 0;
  int64_t spoke_ = 0;
  int64_t asked_ = 0;
};

/* What a client asks for, padding taken off; valid during the call. */
struct SoupLogin {
  std::string_view username, password, session;
  uint64_t sequence;
};

/* A server's side of one connection. What it sends is written by the soup_encode functions and
 * told by spoke(). The sink is any object with
 *   login(const SoupLogin&)          to be answered by accept() or reject()
 *   logout()
 *   unsequenced(const uint8_t* data, size_t length, int64_t recv_time)
 *   debug(const uint8_t* text, size_t length)
 *   connection_lost(SoupLoss reason) */
class SoupServerSession {
 public:
  explicit SoupServerSession(int64_t heartbeat_ns = 1'000'000'000,
                             int64_t timeout_ns = 15'000'000'000)
      : heartbeat_(heartbeat_ns), timeout_(timeout_ns) {}

  void connected(int64_t now);
  template <class Sink>
  void on_bytes(const uint8_t* p, size_t n, int64_t now, Sink&& sink);
  template <class Sink>
  void on_time(int64_t now, Sink&& sink);
  void accept() { state_ = SoupState::kOpen; }
  void reject() { state_ = SoupState::kRejected; }
  void end() { state_ = SoupState::kEnded; }
  /* Something was sent: the next heartbeat is due an interval later. */
  void spoke(int64_t now) { spoke_ = now; }
  bool heartbeat_due(int64_t now) const {
    return state_ == SoupState::kOpen && now - spoke_ >= heartbeat_;
  }

  SoupState state() const { return state_; }
  const SoupCounters& counters() const { return counters_; }

 private:
  template <class Sink>
  void on_packet(const uint8_t* p, size_t n, int64_t now, Sink&& sink);
  template <class Sink>
  bool login(const uint8_t* p, size_t n, Sink&& sink);

  int64_t heartbeat_, timeout_;
  SoupState state_ = SoupState::kIdle;
  SoupCounters counters_;
  SoupFrames frames_;
  int64_t heard_ = 0, spoke_ = 0, asked_ = 0;
};

template <class Sink>
void SoupBinTcp::on_bytes(const uint8_t* p, size_t n, int64_t now, Sink&& sink) {
  counters_.bytes += n;
  if (n != 0) heard_ = now;
  frames_.feed(p, n,
               [&](const uint8_t* packet, size_t length) { on_packet(packet, length, now, sink); });
}

template <class Sink>
void SoupBinTcp::on_packet(const uint8_t* p, size_t n, int64_t now, Sink&& sink) {
  ++counters_.packets;
  if (n == 0) [[unlikely]] {
    ++counters_.malformed;
    return;
  }
  const auto type = static_cast<SoupType>(*p++);
  --n;
  const bool open = state_ == SoupState::kOpen;
  switch (type) {
    case SoupType::kSequenced:
      if (!open) break;
      return sequenced(p, n, now, sink);
    case SoupType::kUnsequenced:
      if (!open) break;
      ++counters_.unsequenced;
      return sink.unsequenced(p, n, now);
    case SoupType::kServerHeartbeat:
      if (!waits()) break;
      if (n != 0) {
        ++counters_.malformed;
        return;
      }
      ++counters_.heartbeats;
      return sink.heartbeat(open ? at_ : 0);
    case SoupType::kDebug:
      ++counters_.debug;
      return sink.debug(p, n);
    case SoupType::kLoginAccepted: {
      uint64_t next;
      if (state_ != SoupState::kLogin) break;
      if (n != kSoupSession + kSoupNumber || !soup_number(p + kSoupSession, kSoupNumber, &next) ||
          next == 0) {
        ++counters_.malformed;
        return;
      }
      at_ = next;
      ++counters_.logins;
      return accepted(p, sink);
    }
    case SoupType::kLoginRejected:
      if (state_ != SoupState::kLogin) break;
      if (n != 1) {
        ++counters_.malformed;
        return;
      }
      state_ = SoupState::kRejected;
      ++counters_.logins;
      return sink.login_rejected(static_cast<char>(*p));
    case SoupType::kEndOfSession:
      if (!open) break;
      if (n != 0) {
        ++counters_.malformed;
        return;
      }
      state_ = SoupState::kEnded;
      over_ = true;
      ++counters_.end_of_session;
      return sink.end_of_session(at_);
    case SoupType::kLoginRequest:
    case SoupType::kClientHeartbeat:
    case SoupType::kLogoutRequest:
      break;  // a client's: no server sends them
    default:
      ++counters_.unknown;
      return;
  }
  ++counters_.unexpected;
}

/* at_ is the number that the server goes on from. */
template <class Sink>
void SoupBinTcp::accepted(const uint8_t* p, Sink&& sink) {
  const std::string_view name = soup_trimmed({reinterpret_cast<const char*>(p), kSoupSession});
  state_ = SoupState::kOpen;
  if (!session_.empty() && name != session_) {
    sink.session_change(session_, name);
    next_ = over_ ? 1 : at_;
  } else if (next_ == 0) {
    next_ = at_;
  }
  session_.assign(name);
  over_ = false;
  const uint64_t wanted = next_;
  next_ = std::max(next_, at_);
  sink.login_accepted(name, at_);
  if (at_ > wanted) sink.gap(wanted, at_ - 1);
}

template <class Sink>
void SoupBinTcp::sequenced(const uint8_t* p, size_t n, int64_t now, Sink&& sink) {
  const uint64_t seq = at_++;
  if (seq < next_) [[unlikely]] {
    ++counters_.duplicates;
    return;
  }
  next_ = at_;
  if (n == 0) [[unlikely]] {
    ++counters_.empty;
    return;
  }
  ++counters_.messages;
  sink.message(seq, p, n, now);
}

template <class Sink>
void SoupBinTcp::on_time(int64_t now, Sink&& sink) {
  if (!waits()) return;
  const bool silent = now - heard_ >= options_.timeout_ns;
  if (silent || (state_ == SoupState::kLogin && now - asked_ >= options_.timeout_ns)) {
    state_ = SoupState::kDead;
    ++counters_.deaths;
    sink.connection_lost(silent ? SoupLoss::kSilence : SoupLoss::kLogin);
    return;
  }
  // What has not been written yet will be a sign of life itself.
  if (state_ == SoupState::kOpen && out_size_ == 0 && now - spoke_ >= options_.heartbeat_ns)
    put(SoupType::kClientHeartbeat, now);
}

template <class Sink>
void SoupServerSession::on_bytes(const uint8_t* p, size_t n, int64_t now, Sink&& sink) {
  counters_.bytes += n;
  if (n != 0) heard_ = now;
  frames_.feed(p, n,
               [&](const uint8_t* packet, size_t length) { on_packet(packet, length, now, sink); });
}

template <class Sink>
void SoupServerSession::on_packet(const uint8_t* p, size_t n, int64_t now, Sink&& sink) {
  ++counters_.packets;
  if (n == 0) {
    ++counters_.malformed;
    return;
  }
  const auto type = static_cast<SoupType>(*p++);
  --n;
  const bool open = state_ == SoupState::kOpen;
  switch (type) {
    case SoupType::kLoginRequest:
      if (state_ != SoupState::kLogin) break;
      ++*(login(p, n, sink) ? &counters_.logins : &counters_.malformed);
      return;
    case SoupType::kClientHeartbeat:
    case SoupType::kLogoutRequest:
      if (!open) break;
      if (n != 0) {
        ++counters_.malformed;
        return;
      }
      if (type == SoupType::kClientHeartbeat) {
        ++counters_.heartbeats;
        return;
      }
      state_ = SoupState::kEnded;
      ++counters_.logouts;
      return sink.logout();
    case SoupType::kUnsequenced:
      if (!open) break;
      ++counters_.unsequenced;
      return sink.unsequenced(p, n, now);
    case SoupType::kDebug:
      ++counters_.debug;
      return sink.debug(p, n);
    case SoupType::kSequenced:
    case SoupType::kServerHeartbeat:
    case SoupType::kLoginAccepted:
    case SoupType::kLoginRejected:
    case SoupType::kEndOfSession:
      break;  // a server's
    default:
      ++counters_.unknown;
      return;
  }
  ++counters_.unexpected;
}

template <class Sink>
bool SoupServerSession::login(const uint8_t* p, size_t n, Sink&& sink) {
  SoupLogin request{};
  if (n != kSoupLoginSize - kSoupHeaderSize) return false;
  if (!soup_number(p + n - kSoupNumber, kSoupNumber, &request.sequence)) return false;
  const auto* text = reinterpret_cast<const char*>(p);
  request.username = soup_trimmed({text, kSoupUsername});
  request.password = soup_trimmed({text + kSoupUsername, kSoupPassword});
  request.session = soup_trimmed({text + kSoupUsername + kSoupPassword, kSoupSession});
  sink.login(request);
  return true;
}

template <class Sink>
void SoupServerSession::on_time(int64_t now, Sink&& sink) {
  const bool login = state_ == SoupState::kLogin;
  if (!login && state_ != SoupState::kOpen) return;
  const bool silent = now - heard_ >= timeout_;
  if (!silent && !(login && now - asked_ >= timeout_)) return;
  state_ = SoupState::kDead;
  ++counters_.deaths;
  sink.connection_lost(silent ? SoupLoss::kSilence : SoupLoss::kLogin);
}

}  // namespace wp::feed
