// SPDX-License-Identifier: Apache-2.0
#include "feed/recovery_requests.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "feed/mold_udp64_packet.h"
#include "feed/wire_sequence.h"
#include "net/bytes.h"

namespace wp::feed {
namespace {

constexpr SequenceNumbers kPitchNumbers{UINT32_MAX, 1}, kNyseNumbers{UINT32_MAX, 1};
constexpr size_t kPitchHeader = 8;
constexpr uint8_t kGapRequest = 0x03;
constexpr uint8_t kGapResponse = 0x04;
constexpr size_t kGapRequestSize = 9;
constexpr size_t kGapResponseSize = 10;

constexpr uint16_t kRetransmissionRequest = 10;
constexpr size_t kNyseHeader = 16;
constexpr size_t kRetransmissionRequestSize = 24;
constexpr uint8_t kOriginal = 11;  // delivery flag

constexpr uint8_t kIexVersion = 1;
constexpr size_t kIexRequestHeader = 16;
constexpr size_t kIexRange = 16;

}  // namespace

size_t MoldRequests::encode(const RecoveryRequest& request, const SessionName& session,
                            uint8_t* out) const {
  MoldRequest wire;
  std::copy_n(session.begin(), kMoldSessionSize, wire.session.begin());
  wire.sequence = request.first;
  wire.count = static_cast<uint16_t>(std::min<uint64_t>(request.count, kMoldMaxMessages));
  mold_encode_request(wire, out);
  return kMoldHeaderSize;
}

RecoveryOptions MoldRequests::limits() const {
  RecoveryOptions o;
  o.max_per_request = kMoldMaxMessages;
  o.continue_at_once = true;
  return o;
}

size_t PitchRequests::encode(const RecoveryRequest& request, const SessionName&,
                             uint8_t* out) const {
  constexpr size_t size = kPitchHeader + kGapRequestSize;
  std::memset(out, 0, size);
  net::store_le<uint16_t>(out, size);
  out[2] = 1;  // messages; unit and sequence stay 0: the connection has none
  uint8_t* const m = out + kPitchHeader;
  m[0] = kGapRequestSize;
  m[1] = kGapRequest;
  m[2] = static_cast<uint8_t>(request.unit);
  net::store_le(m + 3, static_cast<uint32_t>(wire_sequence(kPitchNumbers, request.first)));
  net::store_le(m + 7, static_cast<uint16_t>(std::min<uint64_t>(request.count, UINT16_MAX)));
  return size;
}

RecoveryOptions PitchRequests::limits() const {
  RecoveryOptions o;
  o.max_per_request = UINT16_MAX;
  return o;
}

NyseRequests::NyseRequests(const std::string& source_id, uint8_t product_id, uint8_t channel_id)
    : product_id_(product_id), channel_id_(channel_id) {
  if (source_id.empty() || source_id.size() > source_id_.size()) {
    throw config_error("source_id", "\"" + source_id + "\"", "1 to 10 characters");
  }
  std::copy(source_id.begin(), source_id.end(), source_id_.begin());
}

size_t NyseRequests::encode(const RecoveryRequest& request, const SessionName&,
                            uint8_t* out) const {
  constexpr size_t size = kNyseHeader + kRetransmissionRequestSize;
  std::memset(out, 0, size);
  net::store_le<uint16_t>(out, size);
  out[2] = kOriginal;
  out[3] = 1;  // messages
  uint8_t* const m = out + kNyseHeader;
  net::store_le<uint16_t>(m, kRetransmissionRequestSize);
  net::store_le(m + 2, kRetransmissionRequest);
  const uint64_t last = request.first + request.count - 1;
  net::store_le(m + 4, static_cast<uint32_t>(wire_sequence(kNyseNumbers, request.first)));
  net::store_le(m + 8, static_cast<uint32_t>(wire_sequence(kNyseNumbers, last)));
  std::copy(source_id_.begin(), source_id_.end(), m + 12);
  m[22] = product_id_;
  m[23] = channel_id_;
  return size;
}

RecoveryOptions NyseRequests::limits() const {
  RecoveryOptions o;
  o.max_per_request = 1000;
  o.per_day = 10'000;
  return o;
}

size_t IexRequests::encode(const RecoveryRequest& request, const SessionName& session,
                           uint8_t* out) const {
  constexpr size_t size = kIexRequestHeader + kIexRange;
  static_assert(size <= kMaxBytes);
  out[0] = kIexVersion;
  out[1] = IexGapRequest::kSequences;
  // Protocol, channel and session stand in both as they do in a segment's header.
  std::memcpy(out + 2, session.data(), 10);
  net::store_le<uint32_t>(out + 12, 1);
  net::store_le<uint64_t>(out + 16, request.first);
  net::store_le<uint64_t>(out + 24, request.first + request.count - 1);
  return size;
}

RecoveryOptions IexRequests::limits() const {
  RecoveryOptions o;
  o.continue_at_once = true;
  return o;
}

bool decode_iex_gap_request(const uint8_t* p, size_t n, IexGapRequest* out) {
  if (n < kIexRequestHeader || p[0] != kIexVersion) return false;
  if (p[1] != IexGapRequest::kSequences && p[1] != IexGapRequest::kBytes) return false;
  const uint32_t count = net::load_le<uint32_t>(p + 12);
  if ((n - kIexRequestHeader) / kIexRange != count || (n - kIexRequestHeader) % kIexRange != 0)
    return false;
  out->type = p[1];
  out->protocol = net::load_le<uint16_t>(p + 2);
  out->channel = net::load_le<uint32_t>(p + 4);
  out->session = net::load_le<uint32_t>(p + 8);
  out->ranges.clear();
  for (const uint8_t* at = p + kIexRequestHeader; at != p + n; at += kIexRange) {
    const auto first = net::load_le<int64_t>(at);
    const auto last = net::load_le<int64_t>(at + 8);
    if (first < 0 || last < first) return false;
    const SequenceRange range{static_cast<uint64_t>(first), static_cast<uint64_t>(last)};
    if (!out->ranges.empty() && range.first <= out->ranges.back().last) return false;
    out->ranges.push_back(range);
  }
  return true;
}

bool decode_pitch_gap_response(const uint8_t* message, size_t n, PitchGapResponse* out) {
  if (n < kGapResponseSize || message[0] < kGapResponseSize || message[1] != kGapResponse) {
    return false;
  }
  out->unit = message[2];
  out->sequence = net::load_le<uint32_t>(message + 3);
  out->count = net::load_le<uint16_t>(message + 7);
  out->status = static_cast<char>(message[9]);
  return true;
}

void on_pitch_gap_response(const PitchGapResponse& response, uint64_t first, int64_t now,
                           Recovery& recovery) {
  switch (response.status) {
    case 'A':
      return;
    case 'S':
      recovery.pause(now + Recovery::kSecond);
      return;
    case 'M':
      recovery.pause(now + 60 * Recovery::kSecond);
      return;
    case 'D':
      recovery.pause(now + Recovery::kDay);
      return;
    default:
      recovery.refuse(response.unit, first, first + std::max<uint64_t>(response.count, 1) - 1);
      return;
  }
}

}  // namespace wp::feed
