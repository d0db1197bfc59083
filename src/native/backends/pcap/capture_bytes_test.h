// SPDX-License-Identifier: Apache-2.0
// Captures for tests, put together field by field in either byte order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace wp::pcap::testing {

using Bytes = std::vector<uint8_t>;

struct Build {
  bool big = false;
  Bytes out;

  Build& u8(uint8_t v) { return out.push_back(v), *this; }
  Build& number(uint64_t v, int width) {
    for (int i = 0; i < width; i++)
      out.push_back(static_cast<uint8_t>(v >> 8 * (big ? width - 1 - i : i)));
    return *this;
  }
  Build& u16(uint16_t v) { return number(v, 2); }
  Build& u32(uint32_t v) { return number(v, 4); }
  Build& u64(uint64_t v) { return number(v, 8); }
  Build& bytes(const Bytes& v) { return out.insert(out.end(), v.begin(), v.end()), *this; }
  Build& pad() {
    while (out.size() % 4) out.push_back(0);
    return *this;
  }

  Build& pcap_header(uint32_t magic, uint32_t link = 1) {
    return u32(magic).u16(2).u16(4).u32(0).u32(0).u32(65535).u32(link);
  }
  Build& record(uint32_t seconds, uint32_t fraction, const Bytes& data, uint32_t original) {
    return u32(seconds)
        .u32(fraction)
        .u32(static_cast<uint32_t>(data.size()))
        .u32(original)
        .bytes(data);
  }
  Build& block(uint32_t type, const Bytes& body) {
    const auto total = static_cast<uint32_t>((body.size() + 3) / 4 * 4 + 12);
    return u32(type).u32(total).bytes(body).pad().u32(total);
  }
  Build part() const { return {big, {}}; }
  Build& section() {
    return block(0x0a0d0d0a, part().u32(0x1a2b3c4d).u16(1).u16(0).u64(UINT64_MAX).out);
  }
  Build& interface(uint16_t link, uint32_t snap, std::optional<uint8_t> resolution = {},
                   std::optional<int64_t> offset = {}) {
    Build body = part();
    body.u16(link).u16(0).u32(snap);
    body.u16(2).u16(3).bytes({'e', 't', 'h'}).pad();  // if_name, to be stepped over
    if (resolution) body.u16(9).u16(1).u8(*resolution).pad();
    if (offset) body.u16(14).u16(8).u64(static_cast<uint64_t>(*offset));
    return block(1, body.u16(0).u16(0).out);
  }
  Build& enhanced(uint32_t interface, uint64_t ticks, const Bytes& data, uint32_t original) {
    Build body = part();
    body.u32(interface).u32(static_cast<uint32_t>(ticks >> 32)).u32(static_cast<uint32_t>(ticks));
    body.u32(static_cast<uint32_t>(data.size())).u32(original).bytes(data).pad();
    body.u16(2).u16(4).u32(0).u16(0).u16(0);  // epb_flags
    return block(6, body.out);
  }
  Build& obsolete(uint16_t interface, uint64_t ticks, const Bytes& data, uint32_t original) {
    Build body = part();
    body.u16(interface).u16(0);
    body.u32(static_cast<uint32_t>(ticks >> 32)).u32(static_cast<uint32_t>(ticks));
    body.u32(static_cast<uint32_t>(data.size())).u32(original).bytes(data);
    return block(2, body.out);
  }
  Build& simple(const Bytes& data, uint32_t original) {
    return block(3, part().u32(original).bytes(data).out);
  }
};

}  // namespace wp::pcap::testing
