/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: datagrams through CmeFramer and CmeMdp3. What the framer takes adds
 * up, every message is in one counter, every record was passed on.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "feed/cme_mdp3.h"
#include "feed/sbe_plan_words.h"

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wp::feed;
  static const auto plan = std::make_shared<const SbePlan>(test::cme_plan_words());
  CmeMdp3 decoder(plan, CmeMap(*plan, test::cme_map_words()));
  const std::vector<uint8_t> bytes(data, data + size);
  Packet packet;
  if (!CmeFramer::parse(bytes.data(), bytes.size(), packet)) return 0;
  require(packet.count == 1 && packet.end == bytes.data() + bytes.size(), "the packet's ends");
  uint64_t messages = 0;
  std::vector<wp_record> records;
  CmeFramer::for_each(packet, [&](const uint8_t* p, size_t n) {
    cme_for_each_message(p, n, [&](const uint8_t*, size_t) { ++messages; });
    decoder.on_unit(p, n, {packet.first, 0, 0, 0}, [&] { return &records.emplace_back(); });
  });
  const CmeCounters& c = decoder.counters();
  require(c.framing == 0, "the decoder sees other sizes than the framer");
  require(c.messages + c.unknown + c.other_schema + c.malformed == messages, "messages");
  require(c.records == records.size(), "records");
  require(records.size() <= CmeMdp3::most_records(bytes.size()), "more records than promised");
  for (const wp_record& r : records) {
    require(r.venue == WP_VENUE_CME && r.seq == packet.first, "a record");
  }
  return 0;
}
