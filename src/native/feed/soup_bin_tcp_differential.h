/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: runs a side of SoupBinTCP and its naive model over
 * the same bytes, cut in the same or another way, and names the first thing in
 * which they differ.
 */
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "feed/soup_bin_tcp.h"
#include "feed/soup_bin_tcp_naive.h"

namespace wp::feed::naive {

inline constexpr int64_t kSoupBeat = 1'000'000'000;
inline constexpr int64_t kSoupTimeout = 15'000'000'000;

/* Events of either side. */
struct SoupRecorder {
  std::vector<SoupEvent> events;
  SoupServerSession* server = nullptr;

  static std::string text(const uint8_t* p, size_t n) {
    return {reinterpret_cast<const char*>(p), n};
  }
  void login_accepted(std::string_view session, uint64_t next) {
    events.push_back({"accepted", next, 0, std::string(session), ""});
  }
  void login_rejected(char reason) {
    events.push_back({"rejected", 0, 0, std::string(1, reason), ""});
  }
  void session_change(std::string_view from, std::string_view to) {
    events.push_back({"session", 0, 0, std::string(from), std::string(to)});
  }
  void gap(uint64_t first, uint64_t last) { events.push_back({"gap", first, last, "", ""}); }
  void message(uint64_t seq, const uint8_t* p, size_t n, int64_t) {
    events.push_back({"message", seq, 0, text(p, n), ""});
  }
  void unsequenced(const uint8_t* p, size_t n, int64_t) {
    events.push_back({"unsequenced", 0, 0, text(p, n), ""});
  }
  void heartbeat(uint64_t next) { events.push_back({"heartbeat", next, 0, "", ""}); }
  void end_of_session(uint64_t next) { events.push_back({"end", next, 0, "", ""}); }
  void debug(const uint8_t* p, size_t n) { events.push_back({"debug", 0, 0, text(p, n), ""}); }
  void connection_lost(SoupLoss reason) {
    events.push_back({"lost", 0, 0, kSoupLosses[static_cast<int>(reason)], ""});
  }
  void login(const SoupLogin& l) {
    events.push_back({"login", l.sequence, 0,
                      std::string(l.username) + "/" + std::string(l.password),
                      std::string(l.session)});
    l.username == "no" ? server->reject() : server->accept();
  }
  void logout() { events.push_back({"logout", 0, 0, "", ""}); }
};

/* The name of the first counter that differs, or null. */
inline const char* soup_difference(const SoupCounters& c, SoupPeer& model) {
  const struct {
    const char* name;
    uint64_t ours;
  } counters[] = {
      {"bytes", c.bytes},
      {"packets", c.packets},
      {"messages", c.messages},
      {"empty", c.empty},
      {"duplicates", c.duplicates},
      {"unsequenced", c.unsequenced},
      {"heartbeats", c.heartbeats},
      {"debug", c.debug},
      {"logins", c.logins},
      {"logouts", c.logouts},
      {"end_of_session", c.end_of_session},
      {"malformed", c.malformed},
      {"unknown", c.unknown},
      {"unexpected", c.unexpected},
      {"truncated", c.truncated},
      {"deaths", c.deaths},
  };
  for (const auto& counter : counters) {
    const auto found = model.count.find(std::string_view(counter.name));
    if (counter.ours != (found == model.count.end() ? 0 : found->second)) return counter.name;
  }
  if (c.packets != c.messages + c.empty + c.duplicates + c.unsequenced + c.heartbeats + c.debug +
                       c.logins + c.logouts + c.end_of_session + c.malformed + c.unknown +
                       c.unexpected)
    return "sum of packets";
  return nullptr;
}

class SoupClientDifferential {
 public:
  SoupClientDifferential(const std::string& session, uint64_t next)
      : client_(options(session, next)), model_(session, next, kSoupBeat, kSoupTimeout) {}

  void connected(int64_t now) {
    client_.connected(now);
    model_.connected(now);
  }
  void disconnected() {
    client_.disconnected();
    model_.disconnected();
  }
  void logout(int64_t now) {
    client_.logout(now);
    model_.logout(now);
  }
  /* Cut into pieces of this many bytes for the session, whole for the model. */
  void on_bytes(const std::string& bytes, size_t piece, int64_t now) {
    for (size_t at = 0; at < bytes.size(); at += piece) {
      // A heap copy of its exact size lets a sanitizer see a read past the end.
      const std::string part = bytes.substr(at, piece);
      const std::vector<uint8_t> copy(part.begin(), part.end());
      client_.on_bytes(copy.data(), copy.size(), now, recorder_);
    }
    model_.on_bytes(bytes, now);
  }
  void on_time(int64_t now) {
    client_.on_time(now, recorder_);
    model_.on_time(now);
  }
  /* The connection takes so many bytes of what is to be sent. */
  void write(size_t n) {
    client_.sent(n);
    model_.out.erase(0, n);
  }

  const char* difference() {
    if (recorder_.events != model_.events) return "events";
    if (std::string(client_.output().begin(), client_.output().end()) != model_.out)
      return "output";
    if (kSoupStates[static_cast<int>(client_.state())] != model_.state) return "state";
    if (client_.session() != model_.session) return "session";
    if (client_.next_sequence() != model_.next) return "next sequence";
    return soup_difference(client_.counters(), model_);
  }
  SoupBinTcp& client() { return client_; }
  std::vector<SoupEvent> take() {
    model_.events.clear();
    return std::exchange(recorder_.events, {});
  }

 private:
  static SoupOptions options(const std::string& session, uint64_t next) {
    SoupOptions o;
    o.username = "user";
    o.password = "secret";
    o.session = session;
    o.next_sequence = next;
    o.heartbeat_ns = kSoupBeat;
    o.timeout_ns = kSoupTimeout;
    return o;
  }

  SoupBinTcp client_;
  SoupClient model_;
  SoupRecorder recorder_;
};

class SoupServerDifferential {
 public:
  SoupServerDifferential() : server_(kSoupBeat, kSoupTimeout), model_(kSoupTimeout) {
    recorder_.server = &server_;
  }
  void connected(int64_t now) {
    server_.connected(now);
    model_.connected(now);
  }
  void on_bytes(const std::string& bytes, size_t piece, int64_t now) {
    for (size_t at = 0; at < bytes.size(); at += piece) {
      const std::string part = bytes.substr(at, piece);
      const std::vector<uint8_t> copy(part.begin(), part.end());
      server_.on_bytes(copy.data(), copy.size(), now, recorder_);
    }
    model_.on_bytes(bytes, now);
  }
  void on_time(int64_t now) {
    server_.on_time(now, recorder_);
    model_.on_time(now);
  }
  const char* difference() {
    if (recorder_.events != model_.events) return "events";
    if (kSoupStates[static_cast<int>(server_.state())] != model_.state) return "state";
    return soup_difference(server_.counters(), model_);
  }
  SoupServerSession& server() { return server_; }
  const std::vector<SoupEvent>& events() const { return recorder_.events; }
  std::vector<SoupEvent> take() {
    model_.events.clear();
    return std::exchange(recorder_.events, {});
  }

 private:
  SoupServerSession server_;
  SoupServer model_;
  SoupRecorder recorder_;
};

}  // namespace wp::feed::naive
