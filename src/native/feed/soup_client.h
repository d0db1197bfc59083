// SPDX-License-Identifier: Apache-2.0
// One client of a SoupServer: its connection, and the bytes that it has still to get.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "feed/server_socket.h"
#include "feed/soup_bin_tcp.h"

namespace wp::feed {

// A GLIMPSE snapshot as packets; shared by the clients that asked before it was made.
struct SoupSnapshot {
  std::vector<uint8_t> bytes;
  uint64_t messages = 0;
};

struct SoupClient {
  SoupClient(Descriptor fd, int64_t heartbeat_ns, int64_t timeout_ns)
      : fd(std::move(fd)), session(heartbeat_ns, timeout_ns) {}

  size_t pending() const {
    return out.size() - sent + (snapshot ? snapshot->bytes.size() - snapshot_at : 0);
  }
  // Of what is pending, the first piece.
  std::span<const uint8_t> next_bytes() const {
    if (sent != out.size()) return std::span(out).subspan(sent);
    return std::span(snapshot->bytes).subspan(snapshot_at);
  }
  void took(size_t n) { (sent != out.size() ? sent : snapshot_at) += n; }
  void took_all() {
    out.clear();
    sent = 0;
    snapshot.reset();
  }

  Descriptor fd;
  SoupServerSession session;
  uint64_t next = 0;   // message
  uint64_t until = 0;  // the end of the session it logged in to
  std::vector<uint8_t> out;
  size_t sent = 0;                               // of out
  std::shared_ptr<const SoupSnapshot> snapshot;  // behind out
  size_t snapshot_at = 0;
  uint64_t snapshot_from = 0;  // message of it that was asked for; 0: none
  bool waited = false;         // for that, longer than until it was made
  int64_t progressed = 0;      // when it last took something, or had nothing to take
  bool says_no_more = false;   // it closed its half, and still reads
  bool last = false;           // the connection ends once all is written
  int64_t ended = 0;           // when that was
  bool leaving = false;        // it ends now
};

}  // namespace wp::feed
