// SPDX-License-Identifier: Apache-2.0
#include "feed/soup_bin_tcp.h"

#include <algorithm>

#include "core/error.h"

namespace wp::feed {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kHour = 3'600'000 * kMillisecond;

void check_text(const char* field, const std::string& text, size_t longest, bool secret = false) {
  const auto printable = [](char c) { return c >= ' ' && c <= '~'; };
  if (text.size() > longest || !std::all_of(text.begin(), text.end(), printable))
    throw config_error(field, secret ? std::to_string(text.size()) + " bytes" : "\"" + text + "\"",
                       "at most " + std::to_string(longest) + " printable ASCII characters");
}

void check_ns(const char* field, int64_t value) {
  if (value < kMillisecond || value > kHour)
    throw config_error(field, std::to_string(value), "1000000 (1 ms) to 3600000000000 (an hour)");
}

// Text stands left, numbers and the session of a login's answer stand right in their fields.
uint8_t* put_left(uint8_t* out, std::string_view text, size_t width) {
  const size_t n = std::min(text.size(), width);
  std::fill_n(std::copy_n(text.begin(), n, out), width - n, ' ');
  return out + width;
}
uint8_t* put_right(uint8_t* out, std::string_view text, size_t width) {
  const size_t n = std::min(text.size(), width);
  return std::copy_n(text.begin(), n, std::fill_n(out, width - n, ' '));
}
uint8_t* put_number(uint8_t* out, uint64_t value) {
  uint8_t* at = out + kSoupNumber;
  do {
    *--at = static_cast<uint8_t>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  std::fill(out, at, ' ');
  return out + kSoupNumber;
}

}  // namespace

std::string_view soup_trimmed(std::string_view field) {
  const size_t first = field.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return field.substr(first, field.find_last_not_of(' ') - first + 1);
}

bool soup_number(const uint8_t* field, size_t n, uint64_t* out) {
  const std::string_view digits = soup_trimmed({reinterpret_cast<const char*>(field), n});
  if (digits.empty()) return false;
  uint64_t value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return false;
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (UINT64_MAX - digit) / 10) return false;
    value = value * 10 + digit;
  }
  *out = value;
  return true;
}

size_t soup_encode_login(uint8_t* out, std::string_view username, std::string_view password,
                         std::string_view session, uint64_t sequence) {
  soup_encode_header(out, SoupType::kLoginRequest, kSoupLoginSize - kSoupHeaderSize);
  uint8_t* at = put_left(out + kSoupHeaderSize, username, kSoupUsername);
  at = put_left(at, password, kSoupPassword);
  put_number(put_right(at, session, kSoupSession), sequence);
  return kSoupLoginSize;
}

size_t soup_encode_accepted(uint8_t* out, std::string_view session, uint64_t next_sequence) {
  soup_encode_header(out, SoupType::kLoginAccepted, kSoupAcceptedSize - kSoupHeaderSize);
  put_number(put_right(out + kSoupHeaderSize, session, kSoupSession), next_sequence);
  return kSoupAcceptedSize;
}

size_t soup_encode_rejected(uint8_t* out, char reason) {
  soup_encode_header(out, SoupType::kLoginRejected, 1);
  out[kSoupHeaderSize] = static_cast<uint8_t>(reason);
  return kSoupRejectedSize;
}

void SoupOptions::validate() const {
  check_text("username", username, kSoupUsername);
  check_text("password", password, kSoupPassword, true);
  check_text("session", session, kSoupSession);
  check_ns("heartbeat_ns", heartbeat_ns);
  check_ns("timeout_ns", timeout_ns);
  if (timeout_ns <= heartbeat_ns)
    throw config_error("timeout_ns", std::to_string(timeout_ns),
                       "more than heartbeat_ns, " + std::to_string(heartbeat_ns));
}

void SoupBinTcp::connected(int64_t now) {
  if (waits()) disconnected();
  frames_.clear();
  // A session that is over is not asked for again: the current one is, from its beginning.
  out_size_ = soup_encode_login(out_.data(), options_.username, options_.password,
                                over_ ? "" : std::string_view(session_), over_ ? 1 : next_);
  state_ = SoupState::kLogin;
  heard_ = spoke_ = asked_ = now;
}

void SoupBinTcp::disconnected() {
  counters_.truncated += frames_.pending() != 0;
  frames_.clear();
  out_size_ = 0;
  if (waits()) state_ = SoupState::kIdle;
}

int64_t SoupBinTcp::deadline() const {
  if (!waits()) return INT64_MAX;
  int64_t due = heard_ + options_.timeout_ns;
  if (state_ == SoupState::kLogin) return std::min(due, asked_ + options_.timeout_ns);
  if (out_size_ == 0) due = std::min(due, spoke_ + options_.heartbeat_ns);
  return due;
}

void SoupBinTcp::logout(int64_t now) {
  if (!waits()) return;
  put(SoupType::kLogoutRequest, now);
  state_ = SoupState::kEnded;
}

void SoupBinTcp::sent(size_t n) {
  n = std::min(n, out_size_);
  std::copy(out_.begin() + static_cast<ptrdiff_t>(n),
            out_.begin() + static_cast<ptrdiff_t>(out_size_), out_.begin());
  out_size_ -= n;
}

// At most a login, a heartbeat and a logout wait: out_ has room for them.
void SoupBinTcp::put(SoupType type, int64_t now) {
  out_size_ += soup_encode_header(out_.data() + out_size_, type, 0);
  spoke_ = now;
}

void SoupServerSession::connected(int64_t now) {
  frames_.clear();
  state_ = SoupState::kLogin;
  heard_ = spoke_ = asked_ = now;
}

}  // namespace wp::feed
