/* SPDX-License-Identifier: Apache-2.0
 *
 * How each venue is asked for what was lost: the request's bytes, and the limits
 * that the venue sets.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "feed/packet.h"
#include "feed/recovery.h"

namespace wp::feed {

class RequestEncoder {
 public:
  static constexpr size_t kMaxBytes = 64;

  virtual ~RequestEncoder() = default;
  /* Writes at most kMaxBytes and returns how many. session: as the arbiter has it. */
  virtual size_t encode(const RecoveryRequest& request, const SessionName& session,
                        uint8_t* out) const = 0;
  /* What the protocol fixes: largest request, bounded answers, quotas; the rest is default. */
  virtual RecoveryOptions limits() const = 0;
};

/* One UDP datagram to the request server, answered to its source address by one packet
 * (Nasdaq MoldUDP64 1.00, "Request packet"). */
class MoldRequests final : public RequestEncoder {
 public:
  size_t encode(const RecoveryRequest& request, const SessionName& session,
                uint8_t* out) const override;
  RecoveryOptions limits() const override;
};

/* A Gap Request in a unit header of its own, over the Gap Request Proxy's TCP connection; the
 * replay comes on a multicast group, perhaps before the response and in pieces (Cboe Multicast
 * PITCH 2.41, "Gap Request"). The quotas are of the account: set them. */
class PitchRequests final : public RequestEncoder {
 public:
  size_t encode(const RecoveryRequest& request, const SessionName& session,
                uint8_t* out) const override;
  RecoveryOptions limits() const override;
};

/* A Retransmission Request (type 10) to the Request Server over TCP; the answer comes on the
 * retransmission multicast group (NYSE Pillar common client 2.4). 1,000 messages a request; after
 * 10,000 requests a day the client id is blocked. */
class NyseRequests final : public RequestEncoder {
 public:
  /* source_id: 1 to 10 characters. Throws wp::Error. */
  NyseRequests(const std::string& source_id, uint8_t product_id, uint8_t channel_id);
  size_t encode(const RecoveryRequest& request, const SessionName& session,
                uint8_t* out) const override;
  RecoveryOptions limits() const override;

 private:
  std::array<char, 10> source_id_{};
  uint8_t product_id_;
  uint8_t channel_id_;
};

/* A gap fill request by sequence numbers, in a UDP datagram or over TCP; the answer is segments of
 * the same session, of which UDP gives only the first few (IEX-TP 1.26, "Gap Fill"). session: as
 * IexTpFramer names it, protocol, channel and session. */
class IexRequests final : public RequestEncoder {
 public:
  size_t encode(const RecoveryRequest& request, const SessionName& session,
                uint8_t* out) const override;
  RecoveryOptions limits() const override;
};

struct IexGapRequest {
  enum Type : uint8_t { kSequences = 1, kBytes = 2 };
  uint8_t type = 0;
  uint16_t protocol = 0;
  uint32_t channel = 0;
  uint32_t session = 0;
  std::vector<SequenceRange> ranges;  // ascending, none overlaps another; none: a sign of life
};
/* The server's side; false: not such a request, or its ranges are not in order. */
bool decode_iex_gap_request(const uint8_t* p, size_t n, IexGapRequest* out);

/* A Gap Response (0x04) of the Gap Request Proxy. */
struct PitchGapResponse {
  uint8_t unit = 0;
  uint32_t sequence = 0;
  uint16_t count = 0;
  char status = 0;  // 'A': accepted
};
/* One message without its unit header; false: another message, or too short. */
bool decode_pitch_gap_response(const uint8_t* message, size_t n, PitchGapResponse* out);
/* Tells recovery of a response: accepted (the replay follows or came before); over a quota (S, M,
 * D: a second, a minute or a day from now); else refused. first: the request's, 64 bits wide. */
void on_pitch_gap_response(const PitchGapResponse& response, uint64_t first, int64_t now,
                           Recovery& recovery);

}  // namespace wp::feed
