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
#include "feed/soup_client.h"
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
  kSoupSlow,       // clients closed because what they should get next is gone, or that read nothing
  kSoupClosed,     // by the client, or broken
  kSoupWaited,     // GLIMPSE: logins that had to wait for others to have read their snapshots
  kSoupNoDescriptor,  // times that a connection had to wait for a file descriptor
  kSoupCounters
};

class SoupServer {
 public:
  // Different ones in memory at a time, however many clients read slowly.
  static constexpr size_t kMostSnapshots = 3;
  // Without a file descriptor for whoever connects: how long until the next attempt.
  static constexpr int64_t kAcceptAgain = 100'000'000;

  SoupServer(const SoupServerOptions& options, std::shared_ptr<MessageLog> log,
             const StreamNumbers& numbers);
  ~SoupServer();
  void start();
  void stop() noexcept;  // and close every connection
  uint16_t port() const { return bound_port(socket_); }
  uint32_t clients() const noexcept { return connected_.load(std::memory_order_relaxed); }
  std::vector<std::pair<std::string, uint64_t>> stats() const;

 private:
  using Client = SoupClient;
  struct Events;
  void run() noexcept;
  void follow();
  void accept_clients(int64_t now);
  void receive(Client& client, int revents, std::vector<uint8_t>& in, int64_t now);
  void login(Client& client, const SoupLogin& request);
  void give_snapshots();
  std::shared_ptr<const SoupSnapshot> make_snapshot();
  void fill(Client& client);
  bool owes(const Client& client) const;
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
  std::vector<std::weak_ptr<const SoupSnapshot>> snapshots_;
  int64_t accept_at_ = 0;
  std::atomic<uint32_t> connected_{0};
  ServerThread thread_;
};

}  // namespace wp::feed
