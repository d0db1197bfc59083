// SPDX-License-Identifier: Apache-2.0
// The GLIMPSE side of a SoupServer: snapshots, shared by the clients that wait for one.
#include <algorithm>
#include <cstdio>
#include <span>
#include <utility>

#include "feed/soup_server.h"
#include "net/bytes.h"

namespace wp::feed {

// One for all who wait for it. Where kMostSnapshots are still being read they wait on: a snapshot
// that was made before they asked may end before what they hear live.
void SoupServer::give_snapshots() {
  std::shared_ptr<const SoupSnapshot> made;
  for (const auto& client : clients_) {
    if (client->snapshot_from == 0 || client->leaving) continue;
    if (!made) {
      std::erase_if(snapshots_, [](const auto& each) { return each.expired(); });
      if (snapshots_.size() == kMostSnapshots) {
        counters_[kSoupWaited].add(!std::exchange(client->waited, true));
        continue;
      }
      made = make_snapshot();
      snapshots_.push_back(made);
    }
    const uint64_t skipped = std::min(client->snapshot_from - 1, made->messages);
    size_t at = 0;
    for (uint64_t i = 0; i < skipped; i++) at += 2 + net::load_be16(made->bytes.data() + at);
    client->snapshot = made;
    client->snapshot_at = at;
    client->snapshot_from = 0;
    counters_[kSoupMessages].add(made->messages - skipped);
    counters_[kSoupEnds].add(1);
    counters_[kSoupSnapshots].add(1);
    client->session.end();
    client->last = true;
  }
}

// Directory, states, orders, then G with the number of the next message of the feed, in 20 digits.
std::shared_ptr<const SoupSnapshot> SoupServer::make_snapshot() {
  auto out = std::make_shared<SoupSnapshot>();
  const auto packet = [&](SoupType type, std::span<const uint8_t> message) {
    uint8_t header[kSoupHeaderSize];
    soup_encode_header(header, type, message.size());
    out->bytes.insert(out->bytes.end(), header, header + kSoupHeaderSize);
    out->bytes.insert(out->bytes.end(), message.begin(), message.end());
  };
  const auto give = [&](std::span<const uint8_t> message) {
    packet(SoupType::kSequenced, message);
    out->messages++;
  };
  state_.for_each(give);
  const uint64_t last = applied_ == 0 ? 0 : applied_ - 1;
  const StreamNumbers::Part& part = numbers_.part_of(last);
  char end[22];
  std::snprintf(end, sizeof end, "G%020llu",
                static_cast<unsigned long long>(part.sequence + (applied_ - part.at)));
  give({reinterpret_cast<const uint8_t*>(end), 21});
  packet(SoupType::kEndOfSession, {});
  return out;
}

}  // namespace wp::feed
