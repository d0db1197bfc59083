/* SPDX-License-Identifier: Apache-2.0
 *
 * CME packets byte by byte, for native tests.
 */
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace wp::feed::test {

class CmeBytes {
 public:
  template <class T>
  CmeBytes& put(T value) {
    uint8_t raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    for (const uint8_t byte : raw) bytes.push_back(byte);
    return *this;
  }
  CmeBytes& put(const CmeBytes& other) {
    bytes.insert(bytes.end(), other.bytes.begin(), other.bytes.end());
    return *this;
  }
  std::vector<uint8_t> bytes;
};

inline CmeBytes cme_packet(uint32_t sequence, uint64_t sent,
                           const std::vector<CmeBytes>& messages) {
  CmeBytes out;
  out.put(sequence).put(sent);
  for (const CmeBytes& m : messages) {
    out.put(static_cast<uint16_t>(m.bytes.size() + 2)).put(m);
  }
  return out;
}

inline CmeBytes cme_header(uint16_t length, uint16_t id, uint16_t version = 9) {
  return CmeBytes().put(length).put(id).put(uint16_t{1}).put(version);
}

struct BookEntry {
  int64_t price = INT64_MAX;
  int32_t size = 1;
  int32_t security = 7;
  uint32_t rpt_seq = 1;
  uint8_t level = 1;
  uint8_t action = 0;
  char type = '0';
};

struct BookOrder {
  uint64_t id = 0;
  uint64_t priority = UINT64_MAX;
  int32_t qty = INT32_MAX;
  uint8_t reference = 255;
  uint8_t action = 0;
};

/* Template 46, with entries longer by `more` bytes than the schema knows. */
inline CmeBytes cme_book(uint64_t time, uint8_t indicator, const std::vector<BookEntry>& entries,
                         const std::vector<BookOrder>& orders = {}, uint16_t more = 0) {
  CmeBytes out = cme_header(11, 46);
  out.put(time).put(indicator).put(uint16_t{0});
  out.put(static_cast<uint16_t>(32 + more)).put(static_cast<uint8_t>(entries.size()));
  for (const BookEntry& e : entries) {
    out.put(e.price).put(e.size).put(e.security).put(e.rpt_seq).put(int32_t{3});
    out.put(e.level).put(e.action).put(e.type);
    for (int i = 0; i < 5 + more; ++i) out.put(uint8_t{0xee});
  }
  out.put(uint16_t{24}).put(uint32_t{0}).put(uint8_t{0}).put(static_cast<uint8_t>(orders.size()));
  for (const BookOrder& o : orders) {
    out.put(o.id).put(o.priority).put(o.qty).put(o.reference).put(o.action).put(uint16_t{0});
  }
  return out;
}

}  // namespace wp::feed::test
