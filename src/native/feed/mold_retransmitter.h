// SPDX-License-Identifier: Apache-2.0
// Answers MoldUDP64 request packets from the messages that a publisher keeps, by one downstream
// packet each, of as many whole messages as fit (Nasdaq MoldUDP64 1.00, "Request packet"). The
// protocol knows no refusal: what is not there is not answered, and counted here.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/telemetry.h"
#include "feed/message_log.h"
#include "feed/random.h"
#include "feed/server_socket.h"
#include "feed/stream_numbers.h"

namespace wp::feed {

struct RetransmitOptions {
  ServerAddress address;
  std::string name = "retransmit";  // of its counters: publisher/<name>/retransmit/…
  uint32_t max_payload = 1'400;     // of an answer, 72 to 65507
  double rate = 0;           // requests a second that are answered, 0: all; else 0.001 to 1e6
  uint32_t rate_burst = 10;  // so many at once, 1 to 1000000
  int64_t delay_ns = 0;      // between request and answer, 0 to 60 s
  double loss = 0;           // of the answers, 0 to 1
  uint64_t seed = 1;         // of the losses
  bool silent = false;       // hears and counts, and answers nothing

  void validate() const;  // throws wp::Error naming the field
};

// requests = answered + malformed + unknown_session + not_yet + gone + limited + silenced + lost
//          + overflow
enum RetransmitCounter : size_t {
  kRetransmitRequests,
  kRetransmitAnswered,
  kRetransmitMessages,
  kRetransmitBytes,
  kRetransmitMalformed,       // not 20 bytes, or for no message
  kRetransmitUnknownSession,  // or a number that the session never had
  kRetransmitNotYet,          // published later, if ever
  kRetransmitGone,            // not kept any more, all of it
  kRetransmitPartlyGone,      // of answered: begins behind the first message wanted
  kRetransmitLimited,
  kRetransmitSilenced,
  kRetransmitLost,
  kRetransmitOverflow,  // too many answers delayed, or the socket would not take it
  kRetransmitCounters
};

// Sans-I/O.
class MoldRetransmitter {
 public:
  MoldRetransmitter(const RetransmitOptions& options, std::shared_ptr<MessageLog> log,
                    StreamNumbers numbers, Counter* counters);

  // Whether a request that came now is to be answered at all: counts it and what refuses it.
  bool admit(const uint8_t* p, size_t n, int64_t now);
  // Writes the answer to an admitted request; 0: there is none, counted. Twice max_payload at
  // `out` is enough.
  size_t answer(const uint8_t* request, uint8_t* out);

 private:
  RetransmitOptions options_;
  std::shared_ptr<MessageLog> log_;
  StreamNumbers numbers_;
  Counter* counters_;
  Random random_;
  int64_t price_;   // ns between answers
  int64_t credit_;  // ns that may be spent on them
  int64_t refilled_ = 0;
  std::vector<uint8_t> message_;
};

// A thread and a UDP socket around it.
class RetransmitServer {
 public:
  RetransmitServer(const RetransmitOptions& options, std::shared_ptr<MessageLog> log,
                   const StreamNumbers& numbers);
  ~RetransmitServer();
  void start();
  void stop() noexcept;  // and close the socket
  uint16_t port() const { return bound_port(socket_); }
  std::vector<std::pair<std::string, uint64_t>> stats() const;

 private:
  struct Delayed;
  void run() noexcept;

  RetransmitOptions options_;
  Descriptor socket_;
  Telemetry& telemetry_;
  Counter* counters_;
  MoldRetransmitter core_;
  std::vector<Delayed> delayed_;  // a ring, in the order of their times
  std::vector<uint8_t> answer_;
  ServerThread thread_;
};

}  // namespace wp::feed
