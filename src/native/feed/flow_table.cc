// SPDX-License-Identifier: Apache-2.0
#include "feed/flow_table.h"

#include <bit>

#include "core/error.h"

namespace wp::feed {
namespace {

std::string text_of(const FlowRule& rule) {
  return Steering{rule.family == 0 && rule.port == 0, {rule}}.describe();
}

}  // namespace

void FlowTable::add(const FlowRule& rule, const FlowTarget& target, const std::string& what) {
  if (rule.protocol == Protocol::kTcp)
    throw config_error("lines", text_of(rule) + " of " + what, "UDP flows");
  for (const Entry& e : entries_) {
    if (e.rule.family == rule.family && e.rule.port == rule.port && e.rule.address == rule.address)
      throw config_error("lines", text_of(rule) + " of " + what,
                         "another flow: it is that of " + e.what);
  }
  entries_.push_back({rule, target, what});
  rebuild();
}

void FlowTable::rebuild() {
  slots_.assign(std::bit_ceil(4 * entries_.size()), kNone);
  open_.clear();
  latest_ = SIZE_MAX;
  for (uint32_t i = 0; i < entries_.size(); i++) {
    const FlowRule& rule = entries_[i].rule;
    if (!exact(rule)) {
      open_.push_back(i);
      continue;
    }
    size_t at = hash(rule.address.data(), rule.family, rule.port) & (slots_.size() - 1);
    while (slots_[at] != kNone) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = i;
  }
}

uint64_t FlowTable::hash(const uint8_t* address, uint8_t family, uint16_t port) {
  uint64_t words[2] = {0, 0};
  std::memcpy(words, address, family == 4 ? 4 : 16);
  uint64_t h = (words[0] ^ words[1] * 0xff51'afd7'ed55'8ccdULL ^ port) * 0x9e37'79b9'7f4a'7c15ULL;
  return h ^ h >> 32;
}

const FlowTarget* FlowTable::find_other(const net::Headers& h) {
  if (slots_.empty()) return nullptr;
  size_t at = hash(h.ip_dst, h.ip_version, h.dst_port) & (slots_.size() - 1);
  for (; slots_[at] != kNone; at = (at + 1) & (slots_.size() - 1)) {
    const Entry& e = entries_[slots_[at]];
    if (!matches(e.rule, h)) continue;
    latest_ = slots_[at];
    return &e.target;
  }
  for (uint32_t i : open_) {
    if (!matches(entries_[i].rule, h)) continue;
    if (entries_.size() == 1) latest_ = i;
    return &entries_[i].target;
  }
  return nullptr;
}

}  // namespace wp::feed
