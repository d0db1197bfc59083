// SPDX-License-Identifier: Apache-2.0
#include "route/fpm_stream.h"

#include "net/bytes.h"

namespace wp::route {

size_t FpmStream::take(const uint8_t* data, size_t length, std::vector<RouteEvent>& out) {
  constexpr uint8_t kVersion = 1, kNetlink = 1;
  size_t done = 0;
  while (length - done >= kHeader) {
    const uint8_t* frame = data + done;
    const size_t size = net::load_be16(frame + 2);
    if (frame[0] != kVersion || size < kHeader) {
      broken_ = true;
      return length;
    }
    if (length - done < size) break;
    counters_.frames++;
    if (frame[1] == kNetlink)
      decode_rtnetlink(frame + kHeader, size - kHeader, out, counters_.netlink);
    else
      counters_.other_frames++;
    done += size;
  }
  return done;
}

void FpmStream::feed(const uint8_t* data, size_t length, std::vector<RouteEvent>& out) {
  counters_.bytes += length;
  if (broken_) return;
  if (held_.empty()) {
    const size_t done = take(data, length, out);
    held_.assign(data + done, data + length);
    return;
  }
  held_.insert(held_.end(), data, data + length);
  const size_t done = take(held_.data(), held_.size(), out);
  held_.erase(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(done));
}

}  // namespace wp::route
