// SPDX-License-Identifier: Apache-2.0
#include "feed/mold_retransmitter.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace wp::feed {
namespace {

constexpr std::array<const char*, kRetransmitCounters> kNames{
    "requests", "answered",    "messages", "bytes",    "malformed", "unknown_session", "not_yet",
    "gone",     "partly_gone", "limited",  "silenced", "lost",      "overflow"};
constexpr size_t kMostDelayed = 65'536;

std::shared_ptr<MessageLog> checked(std::shared_ptr<MessageLog> log) {
  if (!log) throw config_error("retransmit", "given", "left out: this source keeps no messages");
  return log;
}

}  // namespace

void RetransmitOptions::validate() const {
  if (max_payload < 72 || max_payload > kMoldMaxPayload)
    throw config_error("retransmit.max_payload", std::to_string(max_payload), "72 to 65507");
  if (rate != 0 && !(rate >= 0.001 && rate <= 1e6))
    throw config_error("retransmit.rate", std::to_string(rate),
                       "0 (all), or 0.001 to 1e6 a second");
  if (rate_burst < 1 || rate_burst > 1'000'000)
    throw config_error("retransmit.rate_burst", std::to_string(rate_burst), "1 to 1000000");
  if (delay_ns < 0 || delay_ns > 60'000'000'000)
    throw config_error("retransmit.delay_ns", std::to_string(delay_ns), "0 to 60000000000");
  if (!(loss >= 0 && loss <= 1))
    throw config_error("retransmit.loss", std::to_string(loss), "0 to 1");
}

MoldRetransmitter::MoldRetransmitter(const RetransmitOptions& options,
                                     std::shared_ptr<MessageLog> log, StreamNumbers numbers,
                                     Counter* counters)
    : options_((options.validate(), options)),
      log_(checked(std::move(log))),
      numbers_(std::move(numbers)),
      counters_(counters),
      random_(options.seed),
      price_(options.rate > 0 ? static_cast<int64_t>(1e9 / options.rate) : 0),
      credit_(price_ * options.rate_burst),
      message_(MessageLog::kMaxMessage + 7) {}

bool MoldRetransmitter::admit(const uint8_t* p, size_t n, int64_t now) {
  counters_[kRetransmitRequests].add(1);
  MoldRequest request;
  const auto refuse = [&](RetransmitCounter why) {
    counters_[why].add(1);
    return false;
  };
  if (!mold_decode_request(p, n, &request) || request.count == 0)
    return refuse(kRetransmitMalformed);
  if (options_.silent) return refuse(kRetransmitSilenced);
  if (options_.rate > 0) {
    credit_ = std::min(credit_ + (now - refilled_), price_ * options_.rate_burst);
    refilled_ = now;
    if (credit_ < price_) return refuse(kRetransmitLimited);
    credit_ -= price_;
  }
  constexpr double kOne = 9007199254740992.0;  // 2^53
  if (static_cast<double>(random_.next() >> 11) < options_.loss * kOne)
    return refuse(kRetransmitLost);
  return true;
}

size_t MoldRetransmitter::answer(const uint8_t* bytes, uint8_t* out) {
  MoldRequest request;
  mold_decode_request(bytes, kMoldHeaderSize, &request);
  const uint64_t published = log_->published();
  const auto refuse = [&](RetransmitCounter why) {
    counters_[why].add(1);
    return size_t{0};
  };
  const auto found = numbers_.message(request.session, request.sequence, published);
  if (!found) return refuse(kRetransmitUnknownSession);
  if (*found >= published) return refuse(kRetransmitNotYet);
  const uint64_t end = std::min({published, numbers_.end_of_part(*found), *found + request.count});
  uint64_t first = *found;
  uint64_t n = first;
  size_t used = kMoldHeaderSize;
  while (n < end) {
    size_t length;
    if (log_->read(n, message_.data(), length) != MessageLog::Read::kThere) {
      // Overwritten: what was copied before it is older, so it goes, too.
      first = n = std::max(n + 1, log_->begin());
      used = kMoldHeaderSize;
      continue;
    }
    if (used + 2 + length > options_.max_payload) break;
    net::store_be16(out + used, static_cast<uint16_t>(length));
    std::memcpy(out + used + 2, message_.data(), length);
    used += 2 + length;
    n++;
  }
  if (n <= first || first >= end) return refuse(kRetransmitGone);
  mold_encode_header(out, request.session, numbers_.sequence_of(first),
                     static_cast<uint16_t>(n - first));
  counters_[kRetransmitPartlyGone].add(first != *found);
  counters_[kRetransmitMessages].add(n - first);
  counters_[kRetransmitBytes].add(used);
  return used;
}

struct RetransmitServer::Delayed {
  int64_t due;
  sockaddr_storage from;
  socklen_t from_size;
  std::array<uint8_t, kMoldHeaderSize> request;
};

RetransmitServer::RetransmitServer(const RetransmitOptions& options,
                                   std::shared_ptr<MessageLog> log, const StreamNumbers& numbers)
    : options_((options.validate(), options)),
      // What may throw stands before the counters, which only the destructor gives back.
      socket_((checked(log), open_server_socket("retransmit", options.address, false))),
      telemetry_(Telemetry::process()),
      counters_(telemetry_.counters("publisher/" + options.name + "/retransmit", kNames)),
      core_(options, std::move(log), numbers, counters_),
      delayed_(options.delay_ns > 0 ? kMostDelayed : 1),
      answer_(2 * kMoldMaxPayload) {}

RetransmitServer::~RetransmitServer() {
  stop();
  telemetry_.release(counters_);
}

void RetransmitServer::stop() noexcept {
  thread_.stop();
  socket_ = Descriptor();
}

void RetransmitServer::start() {
  thread_.start([this] { run(); });
}

void RetransmitServer::run() noexcept {
  std::array<uint8_t, 64> in;
  size_t first = 0, count = 0;
  const auto send = [&](const Delayed& d) {
    const size_t n = core_.answer(d.request.data(), answer_.data());
    if (n == 0) return;
    const auto* to = reinterpret_cast<const sockaddr*>(&d.from);
    const bool sent = sendto(socket_.get(), answer_.data(), n, 0, to, d.from_size) >= 0;
    counters_[sent ? kRetransmitAnswered : kRetransmitOverflow].add(1);
  };
  for (;;) {
    int64_t now = server_clock();
    for (; count != 0 && delayed_[first].due <= now; count--) {
      send(delayed_[first]);
      first = (first + 1) % delayed_.size();
    }
    timespec wait{1, 0};
    if (count != 0) {
      const int64_t left = std::clamp<int64_t>(delayed_[first].due - now, 0, 1'000'000'000);
      wait = {left / 1'000'000'000, left % 1'000'000'000};
    }
    pollfd polled[] = {{socket_.get(), POLLIN, 0}, {thread_.woken(), POLLIN, 0}};
    ppoll(polled, 2, &wait, nullptr);
    if (polled[1].revents != 0) return;
    // Bounded, so that answers that are due do not wait for a flood of requests.
    for (int i = 0; i < 64; i++) {
      Delayed d;
      d.from_size = sizeof d.from;
      const ssize_t n = recvfrom(socket_.get(), in.data(), in.size(), 0,
                                 reinterpret_cast<sockaddr*>(&d.from), &d.from_size);
      if (n < 0) break;
      now = server_clock();
      if (!core_.admit(in.data(), static_cast<size_t>(n), now)) continue;
      std::copy_n(in.begin(), d.request.size(), d.request.begin());
      d.due = now + options_.delay_ns;
      if (options_.delay_ns == 0) {
        send(d);
      } else if (count == delayed_.size()) {
        counters_[kRetransmitOverflow].add(1);
      } else {
        delayed_[(first + count++) % delayed_.size()] = d;
      }
    }
  }
}

std::vector<std::pair<std::string, uint64_t>> RetransmitServer::stats() const {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (size_t i = 0; i < kNames.size(); i++) out.emplace_back(kNames[i], counters_[i].value());
  return out;
}

}  // namespace wp::feed
