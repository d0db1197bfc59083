// SPDX-License-Identifier: Apache-2.0
#include "feed/declared_messages.h"

#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"

namespace wp::feed {
namespace {

size_t checked(size_t bytes) {
  constexpr size_t kMostBytes = size_t{1} << 36;
  if (bytes < DeclaredMessages::kLeastBytes || bytes > kMostBytes)
    throw config_error(
        "message_bytes", std::to_string(bytes),
        std::to_string(DeclaredMessages::kLeastBytes) + " to " + std::to_string(kMostBytes));
  return bytes;
}

}  // namespace

DeclaredMessages::DeclaredMessages(std::vector<DeclaredMessage> types, size_t bytes)
    : types_(std::move(types)), index_(kTypes), rows_(checked(bytes)) {
  if (types_.size() > kMost)
    throw config_error("messages", std::to_string(types_.size()) + " types",
                       "at most " + std::to_string(kMost));
  for (size_t i = 0; i < types_.size(); ++i) {
    const DeclaredMessage& m = types_[i];
    const std::string name = "message type " + std::to_string(m.type);
    if (index_[m.type] != 0) throw config_error("messages", name, "declared once");
    if (m.instrument_at >= 0 && size_t{m.size} < static_cast<size_t>(m.instrument_at) + 4)
      throw config_error("messages",
                         name + " with its instrument at " + std::to_string(m.instrument_at),
                         "of four bytes within the " + std::to_string(m.size) + " declared");
    index_[m.type] = static_cast<uint16_t>(i + 1);
  }
}

void DeclaredMessages::take(std::vector<std::vector<uint8_t>>& rows) {
  rows.resize(types_.size());
  // What comes meanwhile waits for the next time, or a fast feed would keep its consumer here.
  for (const uint64_t until = stored(); taken_ != until; ++taken_) {
    const bool some = rows_.take([&](const Header& h, const uint8_t* body, size_t n) {
      std::vector<uint8_t>& out = rows[h.index];
      const size_t at = out.size();
      out.resize(at + kRowHeader + n);
      std::memcpy(&out[at], &h.seq, 8);
      std::memcpy(&out[at + 8], &h.recv_time, 8);
      std::memcpy(&out[at + 16], &h.send_time, 8);
      out[at + 24] = h.flags;
      if (n != 0) std::memcpy(&out[at + kRowHeader], body, n);
    });
    if (!some) return;
  }
}

}  // namespace wp::feed
