// SPDX-License-Identifier: Apache-2.0
// Serves what a publisher keeps over SoupBinTCP: the messages themselves, from any number that is
// still kept (a replay), or a snapshot of the books and the number to go on from (GLIMPSE).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/telemetry.h"
#include "feed/glimpse_state.h"
#include "feed/message_log.h"
#include "feed/server_socket.h"
#include "feed/soup_bin_tcp.h"
#include "feed/stream_numbers.h"

namespace wp::feed {

struct SoupServerOptions {
  ServerAddress address;
  std::string name = "soup";  // of its counters: publisher/<name>/soup or /glimpse
  bool glimpse = false;
  std::string username;  // what a client must say, in any case of letters; empty: anything
  std::string password;
  uint32_t max_clients = 64;  // at a time, 1 to 1000
  int64_t heartbeat_ns = 1'000'000'000;
  int64_t timeout_ns = 15'000'000'000;

  void validate() const;  // throws wp::Error naming the field
};

// connections = full + those that were let in; logins and rejections are of these.
enum SoupServerCounter : size_t {
  kSoupConnections,
  kSoupFull,  // closed at once: max_clients are connected
  kSoupLogins,
  kSoupRejectedUser,
  kSoupRejectedSession,
  kSoupMessages,
  kSoupBytes,
  kSoupHeartbeats,
  kSoupEnds,
  kSoupSnapshots,  // GLIMPSE: complete ones
  kSoupSilent,     // clients closed because nothing was heard of them
  kSoupSlow,       // clients closed because what they should get next is gone
  kSoupClosed,     // by the client, or broken
  kSoupCounters
};

class SoupServer {
 public:
  SoupServer(const SoupServerOptions& options, std::shared_ptr<MessageLog> log,
             const StreamNumbers& numbers);
  ~SoupServer();
  void start();
  void stop() noexcept;  // and close every connection
  uint16_t port() const { return bound_port(socket_); }
  uint32_t clients() const noexcept { return connected_.load(std::memory_order_relaxed); }
  std::vector<std::pair<std::string, uint64_t>> stats() const;

 private:
  struct Client;
  struct Events;
  void run() noexcept;
  void follow();
  void accept_clients(int64_t now);
  void login(Client& client, const SoupLogin& request);
  void snapshot(Client& client, const SoupLogin& request);
  void fill(Client& client);
  bool flush(Client& client, int64_t now);
  void put(Client& client, SoupType type, const uint8_t* data, size_t n);
  const StreamNumbers::Part* part_for(std::string_view session, uint64_t published) const;

  SoupServerOptions options_;
  std::shared_ptr<MessageLog> log_;
  StreamNumbers numbers_;
  Telemetry& telemetry_;
  Counter* counters_;
  Descriptor socket_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<uint8_t> message_;
  GlimpseState state_;
  uint64_t applied_ = 0;  // messages in state_
  std::atomic<uint32_t> connected_{0};
  ServerThread thread_;
};

}  // namespace wp::feed
