/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: both sides of SoupBinTCP over a std::string of
 * everything received. Slow, obvious, and sharing no code with the sessions.
 */
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace wp::feed::naive {

struct SoupEvent {
  std::string what;
  uint64_t first = 0, last = 0;
  std::string text, more;
  bool operator==(const SoupEvent&) const = default;
};

inline std::string without_spaces(std::string text) {
  while (!text.empty() && text.front() == ' ') text.erase(0, 1);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

inline std::string padded(const std::string& text, size_t width, bool right) {
  const std::string space(width - text.size(), ' ');
  return right ? space + text : text + space;
}

inline std::optional<uint64_t> number_in(const std::string& field) {
  const std::string digits = without_spaces(field);
  unsigned __int128 value = 0;
  if (digits.empty()) return {};
  for (const char c : digits) {
    if (c < '0' || c > '9') return {};
    value = value * 10 + static_cast<unsigned>(c - '0');
    if (value > UINT64_MAX) return {};
  }
  return static_cast<uint64_t>(value);
}

inline std::string soup_packet(char type, const std::string& payload = "") {
  const size_t n = payload.size() + 1;
  return std::string{static_cast<char>(n >> 8), static_cast<char>(n), type} + payload;
}

class SoupPeer {
 public:
  std::vector<SoupEvent> events;
  std::map<std::string, uint64_t, std::less<>> count;
  std::string state = "idle";

  void on_bytes(const std::string& bytes, int64_t now) {
    count["bytes"] += bytes.size();
    if (!bytes.empty()) heard = now;
    stream += bytes;
    while (stream.size() >= 2) {
      const size_t n = static_cast<size_t>(static_cast<uint8_t>(stream[0])) << 8 |
                       static_cast<uint8_t>(stream[1]);
      if (stream.size() < 2 + n) break;
      const std::string packet = stream.substr(2, n);
      stream.erase(0, 2 + n);
      ++count["packets"];
      ++count[packet.empty() ? "malformed" : one(packet[0], packet.substr(1))];
    }
  }

 protected:
  ~SoupPeer() = default;
  // Deals with a packet; the counter that it belongs to.
  virtual std::string one(char type, const std::string& payload) = 0;
  bool waits() const { return state == "login" || state == "open"; }
  void died(int64_t now, int64_t timeout) {
    if (!waits()) return;
    const bool silent = now - heard >= timeout;
    if (!silent && !(state == "login" && now - asked >= timeout)) return;
    state = "dead";
    ++count["deaths"];
    events.push_back({"lost", 0, 0, silent ? "silence" : "login", ""});
  }

  std::string stream;
  int64_t heard = 0, asked = 0, spoke = 0;
};

class SoupClient final : public SoupPeer {
 public:
  SoupClient(std::string session, uint64_t next, int64_t heartbeat, int64_t timeout)
      : session(session), next(next), heartbeat_(heartbeat), timeout_(timeout) {}

  void connected(int64_t now) {
    if (waits()) disconnected();
    stream.clear();
    const std::string number = std::to_string(over_ ? 1 : next);
    out = soup_packet('L', padded("user", 6, false) + padded("secret", 10, false) +
                               padded(over_ ? "" : session, 10, true) + padded(number, 20, true));
    state = "login";
    heard = spoke = asked = now;
  }
  void disconnected() {
    if (!stream.empty()) ++count["truncated"];
    stream.clear();
    out.clear();
    if (waits()) state = "idle";
  }
  void on_time(int64_t now) {
    died(now, timeout_);
    if (state == "open" && out.empty() && now - spoke >= heartbeat_) {
      out += soup_packet('R');
      spoke = now;
    }
  }
  void logout(int64_t now) {
    if (!waits()) return;
    out += soup_packet('O');
    spoke = now;
    state = "ended";
  }

  std::string session;
  uint64_t next;
  std::string out;

 private:
  std::string one(char type, const std::string& payload) override {
    const bool open = state == "open";
    if (type == '+') {
      events.push_back({"debug", 0, 0, payload, ""});
      return "debug";
    }
    if (type == 'S' && open) return sequenced(payload);
    if (type == 'U' && open) {
      events.push_back({"unsequenced", 0, 0, payload, ""});
      return "unsequenced";
    }
    if (type == 'H' && waits()) {
      if (!payload.empty()) return "malformed";
      events.push_back({"heartbeat", open ? at_ : 0, 0, "", ""});
      return "heartbeats";
    }
    if (type == 'A' && state == "login") return accepted(payload);
    if (type == 'J' && state == "login") {
      if (payload.size() != 1) return "malformed";
      state = "rejected";
      events.push_back({"rejected", 0, 0, payload, ""});
      return "logins";
    }
    if (type == 'Z' && open) {
      if (!payload.empty()) return "malformed";
      state = "ended";
      over_ = true;
      events.push_back({"end", at_, 0, "", ""});
      return "end_of_session";
    }
    return std::string("SUHAJZLRO").find(type) == std::string::npos ? "unknown" : "unexpected";
  }

  std::string accepted(const std::string& payload) {
    if (payload.size() != 30) return "malformed";
    const auto number = number_in(payload.substr(10));
    if (!number || *number == 0) return "malformed";
    const std::string name = without_spaces(payload.substr(0, 10));
    const bool another = !session.empty() && name != session;
    if (another) events.push_back({"session", 0, 0, session, name});
    uint64_t wanted = another ? (over_ ? 1 : *number) : next;
    if (wanted == 0) wanted = *number;
    events.push_back({"accepted", *number, 0, name, ""});
    if (*number > wanted) events.push_back({"gap", wanted, *number - 1, "", ""});
    next = wanted > *number ? wanted : *number;
    at_ = *number;
    session = name;
    over_ = false;
    state = "open";
    return "logins";
  }

  std::string sequenced(const std::string& payload) {
    const uint64_t seq = at_++;
    if (seq < next) return "duplicates";
    next = at_;
    if (payload.empty()) return "empty";
    events.push_back({"message", seq, 0, payload, ""});
    return "messages";
  }

  int64_t heartbeat_, timeout_;
  uint64_t at_ = 0;
  bool over_ = false;
};

class SoupServer final : public SoupPeer {
 public:
  explicit SoupServer(int64_t timeout) : timeout_(timeout) {}

  void connected(int64_t now) {
    stream.clear();
    state = "login";
    heard = asked = now;
  }
  void on_time(int64_t now) { died(now, timeout_); }

 private:
  // Takes every login but those of the user "no".
  std::string one(char type, const std::string& payload) override {
    const bool open = state == "open";
    if (type == '+') {
      events.push_back({"debug", 0, 0, payload, ""});
      return "debug";
    }
    if (type == 'L' && state == "login") {
      if (payload.size() != 46) return "malformed";
      const auto number = number_in(payload.substr(26));
      if (!number) return "malformed";
      const std::string user = without_spaces(payload.substr(0, 6));
      events.push_back({"login", *number, 0, user + "/" + without_spaces(payload.substr(6, 10)),
                        without_spaces(payload.substr(16, 10))});
      state = user == "no" ? "rejected" : "open";
      return "logins";
    }
    if (type == 'U' && open) {
      events.push_back({"unsequenced", 0, 0, payload, ""});
      return "unsequenced";
    }
    if ((type == 'R' || type == 'O') && open) {
      if (!payload.empty()) return "malformed";
      if (type == 'R') return "heartbeats";
      state = "ended";
      events.push_back({"logout", 0, 0, "", ""});
      return "logouts";
    }
    return std::string("SUHAJZLRO").find(type) == std::string::npos ? "unknown" : "unexpected";
  }

  int64_t timeout_;
};

}  // namespace wp::feed::naive
