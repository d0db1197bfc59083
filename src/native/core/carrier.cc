// SPDX-License-Identifier: Apache-2.0
#include "core/carrier.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace wp {

void Carrier::begin(std::span<const std::shared_ptr<Port>> ports, const std::vector<End>& ends,
                    Counter* counters) {
  counters_ = counters;
  ends_.clear();
  for (size_t i = 0; i < ports.size(); i++) {
    const Capabilities can = ports[i]->capabilities();
    const End& end = ends[i];
    ends_.push_back({ports[i].get(), &end.queues, ports[i]->frame_memory(), end.host, end.network,
                     can.tx, can.pass});
  }
  frames_.assign(ends.size(), 0);
  place_.assign(ends.size(), 0);
  targets_.reserve(ends.size());
}

// The common case, all frames alike, is one compare of an array with itself, an element further.
void Carrier::carry_out(uint16_t source, uint32_t queue, wp_batch& batch, bool held) noexcept {
  const uint32_t n = batch.count;
  if (n == 0) return;  // a stage took them all out
  const Way& from = ends_[source];
  const uint8_t first = batch.verdict[0];
  if (std::memcmp(batch.verdict, batch.verdict + 1, n - 1) == 0) [[likely]] {
    if (first == WP_DROP || (first == WP_KEEP && held)) {
      counters_[kVerdict0 + first].add(n);
      return;
    }
    if (first == WP_TX) {
      counters_[kVerdict0 + size_t{WP_TX}].add(n);
      send_back(source, queue, batch, n);
      return;
    }
    const bool redirect = first == WP_REDIRECT;
    if (redirect || (first == WP_PASS && from.host >= 0)) {
      const auto target = redirect ? batch.target[0] : static_cast<uint16_t>(from.host);
      const bool same = !redirect || std::memcmp(batch.target, batch.target + 1,
                                                 (n - 1) * sizeof batch.target[0]) == 0;
      if (same && target < ends_.size()) {
        counters_[kVerdict0 + first].add(n);
        send_whole(source, target, queue, batch);
        return;
      }
      if (redirect && *std::max_element(batch.target, batch.target + n) < ends_.size()) {
        counters_[kVerdict0 + size_t{WP_REDIRECT}].add(n);
        for (uint32_t i = 0; i < n; i++) count_way(batch.target[i]);
        send_sorted(source, queue, batch, batch.target);
        return;
      }
    }
  }
  uint32_t by_verdict[256] = {};
  for (uint32_t i = 0; i < n; i++) by_verdict[batch.verdict[i]]++;
  for (size_t v = 0; v < WP_VERDICTS; v++)
    if (by_verdict[v]) counters_[kVerdict0 + v].add(by_verdict[v]);
  if (by_verdict[WP_TX]) send_back(source, queue, batch, by_verdict[WP_TX]);
  if (by_verdict[WP_KEEP] && !held) {
    counters_[kKeepUnsupported].add(by_verdict[WP_KEEP]);
    for (uint32_t i = 0; i < n; i++)
      if (batch.verdict[i] == WP_KEEP) batch.verdict[i] = WP_DROP;
  }
  const uint32_t plain =
      by_verdict[WP_ABORTED] + by_verdict[WP_DROP] + by_verdict[WP_TX] + by_verdict[WP_KEEP];
  if (plain == n) return;
  gather(from, batch);
  send_sorted(source, queue, batch, way_.data());
}

// The port of each frame; what goes nowhere is counted.
void Carrier::gather(const Way& from, wp_batch& batch) noexcept {
  for (uint32_t i = 0; i < batch.count; i++) {
    uint32_t target;
    way_[i] = kNowhere;
    switch (batch.verdict[i]) {
      case WP_ABORTED:
      case WP_DROP:
      case WP_TX:
      case WP_KEEP:
        continue;
      case WP_PASS:
        if (from.host < 0) {
          if (!from.pass) counters_[kPassUnsupported].add(1);
          continue;
        }
        target = static_cast<uint32_t>(from.host);
        break;
      case WP_REDIRECT:
        target = batch.target[i];
        if (target >= ends_.size()) {
          counters_[kBadTarget].add(1);
          continue;
        }
        break;
      default:
        counters_[kBadVerdict].add(1);
        batch.verdict[i] = WP_DROP;  // an unknown verdict must not leak the frame
        continue;
    }
    way_[i] = static_cast<uint16_t>(target);
    count_way(way_[i]);
  }
}

// By port, each one's in their order. `way`: the port of each frame, counted, or kNowhere.
void Carrier::send_sorted(uint16_t source, uint32_t queue, wp_batch& batch,
                          const uint16_t* way) noexcept {
  uint32_t begin = 0;
  for (const uint16_t target : targets_) {
    place_[target] = begin;
    begin += frames_[target];
  }
  wp_batch& out = *outbound_;
  for (uint32_t i = 0; i < batch.count; i++) {
    if (way[i] == kNowhere) continue;
    const uint32_t to = place_[way[i]]++;
    frame_[to] = i;
    out.data[to] = batch.data[i];
    out.length[to] = batch.length[i];
    out.timestamp[to] = batch.timestamp[i];
    out.hash[to] = batch.hash[i];
    out.handle[to] = batch.handle[i];
  }
  std::memset(out.verdict, WP_TX, begin);
  for (const uint16_t target : targets_) send_gathered(source, target, queue, batch);
  targets_.clear();
}

void Carrier::send_back(uint16_t source, uint32_t queue, wp_batch& batch,
                        uint32_t frames) noexcept {
  if (ends_[source].tx)
    ends_[source].port->send(queue, batch);
  else
    counters_[kTxUnsupported].add(frames);
}

// The whole batch by one port, as it stands.
void Carrier::send_whole(uint16_t source, uint16_t target, uint32_t queue,
                         wp_batch& batch) noexcept {
  const Way &from = ends_[source], &to = ends_[target];
  const uint32_t n = batch.count;
  if (!to.tx) {
    counters_[kTxUnsupported].add(n);
    return;
  }
  const bool lent = from.memory && from.memory == to.memory && source != target;
  std::memset(batch.verdict, WP_TX, n);
  to.port->send(queue_of(source, target, queue), batch, lent);
  if (!lent) return;
  uint32_t taken = 0;
  for (uint32_t i = 0; i < n; i++) taken += batch.handle[i] == WP_NO_FRAME;
  if (taken) from.port->lent(queue, taken);
}

// One burst by `target`, out of a queue that no other worker has. Where the ports' frames do not
// lie in the same memory, the sending port copies them, and they are released here.
void Carrier::send_gathered(uint16_t source, uint16_t target, uint32_t queue,
                            wp_batch& batch) noexcept {
  const Way &from = ends_[source], &to = ends_[target];
  const uint32_t n = std::exchange(frames_[target], 0), begin = place_[target] - n;
  const wp_batch& all = *outbound_;
  wp_batch out{.abi = all.abi,
               .capacity = n,
               .count = n,
               .port = batch.port,
               .queue = batch.queue,
               .data = all.data + begin,
               .length = all.length + begin,
               .timestamp = all.timestamp + begin,
               .hash = all.hash + begin,
               .verdict = all.verdict + begin,
               .target = all.target + begin,
               .handle = all.handle + begin};
  if (!to.tx) {
    counters_[kTxUnsupported].add(n);
    return;
  }
  const bool back = source == target;
  const bool lent = from.memory && from.memory == to.memory && !back;
  if (!lent && !back) std::fill_n(out.handle, n, WP_NO_FRAME);
  to.port->send(queue_of(source, target, queue), out, lent);
  if (!lent && !back) return;
  uint32_t taken = 0;
  for (uint32_t k = 0; k < n; k++) {
    if (out.handle[k] != WP_NO_FRAME) continue;
    batch.handle[frame_[begin + k]] = WP_NO_FRAME;
    taken++;
  }
  if (lent && taken) from.port->lent(queue, taken);
}

void Carrier::from_host(uint16_t source, uint32_t queue, wp_batch& batch) noexcept {
  counters_[kFromHost].add(batch.count);
  send_whole(source, static_cast<uint16_t>(ends_[source].network), queue, batch);
}

}  // namespace wp
