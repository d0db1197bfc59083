// SPDX-License-Identifier: Apache-2.0
// The pcap backend replays a capture as if it came from a NIC, as fast as possible or paced, and
// writes what is sent to it into another one.
#include <time.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/builtin.h"
#include "backends/pcap/capture_reader.h"
#include "backends/pcap/capture_writer.h"
#include "backends/pcap/link_layer.h"
#include "backends/pcap/mapped_file.h"
#include "backends/pcap/replay_pace.h"
#include "core/error.h"
#include "programs/steer_native.h"

namespace wp {
namespace {

using namespace pcap;

constexpr std::array kOptions{
    OptionHelp{"speed", "0", "0 = as fast as possible, 1 = as captured, 10 = ten times faster"},
    OptionHelp{"loop", "1", "times to replay the capture, 1 or more"},
    OptionHelp{"timestamps", "capture",
               "capture = the frames' own; replay = the time each is handed out"},
    OptionHelp{"write", "", "file for transmitted frames: *.pcapng, else pcap (nanoseconds)"},
};

enum : size_t {
  kRxPackets,
  kRxBytes,
  kTxPackets,
  kTxBytes,
  kFiltered,
  kFragment,
  kLinkTypeDropped,
  kMalformed,
  kTxTooLong,
  kTxWrite,
  kTxUnsupported,
  kTruncatedPackets,
  kUnknownBlocks,
  kMalformedBlocks,
  kTruncatedTail,
  kHeld,
  kCounters
};
constexpr std::array<const char*, kCounters> kNames{
    "rx_packets",       "rx_bytes",         "tx_packets",          "tx_bytes",
    "drop.filtered",    "drop.fragment",    "drop.link_type",      "drop.malformed",
    "drop.tx_too_long", "drop.tx_write",    "drop.tx_unsupported", "truncated_packets",
    "unknown_blocks",   "malformed_blocks", "truncated_tail",      "held"};

// A call to rx looks at this many packets for each it may hand out, so that a capture of other
// flows doesn't hold the caller up.
constexpr uint32_t kLookedAtPerFrame = 16;

int64_t monotonic() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

bool starts_with(std::span<const uint8_t> bytes, std::initializer_list<uint8_t> magic) {
  return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
}

void refuse_unreadable(const std::string& path, std::span<const uint8_t> bytes,
                       const CaptureReader& reader) {
  const char* unpack = starts_with(bytes, {0x1f, 0x8b})                 ? "gzip -dk "
                       : starts_with(bytes, {0x28, 0xb5, 0x2f, 0xfd})   ? "zstd -dk "
                       : starts_with(bytes, {0x04, 0x22, 0x4d, 0x18})   ? "lz4 -dk "
                       : starts_with(bytes, {0xfd, '7', 'z', 'X', 'Z'}) ? "xz -dk "
                                                                        : nullptr;
  if (unpack)
    throw Error(ErrorKind::kUnsupported, "the capture " + path + " is compressed",
                std::string("unpack it first: ") + unpack + path);
  if (reader.format() == CaptureFormat::kNone)
    throw Error(ErrorKind::kConfig, path + " is neither pcap nor pcapng",
                "look at it with: file " + path);
  if (reader.counts().truncated_tail)
    throw Error(ErrorKind::kConfig, "the capture " + path + " ends within its file header",
                "capture it again");
}

class PcapPort final : public Port {
 public:
  explicit PcapPort(const PortConfig& config)
      : Port(config),
        path_(config.device),
        file_(checked_path(path_, config.options)),
        reader_(file_.bytes()),
        pace_(config.options.number("speed", 0, 1e6)),
        loops_(config.options.integer("loop", 1, INT64_MAX)),
        steer_(config.steering) {
    constexpr std::array<std::string_view, 2> kStamps{"capture", "replay"};
    capture_stamps_ = config.options.one_of("timestamps", kStamps) == "capture";
    speed_ = config.options.number("speed", 0, 1e6);
    refuse_unreadable(path_, file_.bytes(), reader_);
    const std::string& write = config.options.text("write");
    if (!write.empty()) {
      if (file_.same_file(write))
        throw config_error("write", write, "another file than the one being read");
      writer_.emplace(write, CaptureWriter::format_for(write));
    }
    CaptureReader ahead(file_.bytes());
    CapturePacket first;
    if (ahead.next(first)) first_stamp_ = first.timestamp;
    pcapng_ = ahead.format() == CaptureFormat::kPcapng;
    resolution_ = ahead.time_scale().name();
    counters_ = add_counters(0, kNames);
  }

  uint32_t rx(uint32_t, wp_batch& batch) noexcept override {
    batch.count = 0;
    if (finished()) return 0;
    const int64_t now = pace_.paced() ? monotonic() : 0;
    const int64_t handed_out = capture_stamps_ ? 0 : clock_.now();
    uint32_t n = 0;
    uint64_t bytes = 0;
    for (uint64_t left = uint64_t{batch.capacity} * kLookedAtPerFrame;
         n < batch.capacity && left != 0; left--) {
      if (!pending_ && !fetch(now, n != 0)) break;
      if (due_ > now) break;
      pending_ = false;
      uint8_t* frame = file_.writable(packet_.data);
      uint32_t length = packet_.length;
      if (!to_ethernet(frame, length)) continue;
      if (const auto steered = steer_.classify(frame, length); steered != STEER_MATCH) {
        counters_[steered == STEER_FRAGMENT ? kFragment : kFiltered].add(1);
        continue;
      }
      if (packet_.length < packet_.original) counters_[kTruncatedPackets].add(1);
      batch.data[n] = frame;
      batch.length[n] = length;
      batch.timestamp[n] = capture_stamps_ ? packet_.timestamp : handed_out;
      batch.hash[n] = 0;
      batch.verdict[n] = WP_DROP;
      batch.handle[n] = n;
      bytes += length;
      n++;
    }
    if (n) {
      counters_[kRxPackets].add(n);
      counters_[kRxBytes].add(bytes);
      last_stamp_.store(packet_.timestamp, std::memory_order_relaxed);
      outstanding_ += n;
    }
    publish_counts();
    return batch.count = n;
  }

  uint32_t tx(uint32_t, wp_batch& batch) noexcept override {
    uint64_t frames = 0, bytes = 0, too_long = 0;
    const uint64_t lost = writer_ ? writer_->lost() : 0;
    for (uint32_t i = 0; i < batch.count; i++) {
      if (batch.verdict[i] != WP_TX) continue;
      if (!writer_) {
        counters_[kTxUnsupported].add(1);
        continue;
      }
      const int64_t stamp = batch.timestamp[i] ? batch.timestamp[i] : clock_.now();
      if (!writer_->append(batch.data[i], batch.length[i], batch.length[i], stamp)) {
        too_long++;
        continue;
      }
      frames++;
      bytes += batch.length[i];
    }
    if (!writer_) return 0;
    writer_->flush();
    // A refused write loses whatever was gathered; which of the bytes is not known any more.
    const uint64_t refused = writer_->lost() - lost;
    frames -= std::min(frames, refused);
    counters_[kTxWrite].add(refused);
    counters_[kTxTooLong].add(too_long);
    counters_[kTxPackets].add(frames);
    if (!refused) counters_[kTxBytes].add(bytes);
    return static_cast<uint32_t>(frames);
  }

  void release(uint32_t, wp_batch& batch) noexcept override {
    for (uint32_t i = 0; i < batch.count; i++) {
      if (batch.handle[i] == WP_NO_FRAME || batch.verdict[i] == WP_KEEP) continue;
      batch.handle[i] = WP_NO_FRAME;
      outstanding_--;
    }
    batch.count = 0;
    counters_[kHeld].set(outstanding_);
  }

  bool wait(uint32_t, int64_t timeout_us) noexcept override {
    if (finished()) return false;
    if (!pace_.paced()) return true;
    const int64_t now = monotonic();
    if (!pending_ && !fetch(now, false)) {
      publish_counts();
      return false;
    }
    const int64_t until = std::min(due_, now + timeout_us * 1000);
    if (until > now) {
      const timespec t{until / 1'000'000'000, until % 1'000'000'000};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
    }
    return due_ <= until;
  }

  Info info() const override {
    std::vector<std::string> links;
    for (const auto& seen : links_seen_) {
      const uint32_t type = seen.load(std::memory_order_relaxed);
      if (type == kNoLink) break;
      const std::string name = link_type_name(static_cast<uint16_t>(type));
      if (std::ranges::find(links, name) == links.end()) links.push_back(name);
    }
    return {{"backend", std::string("pcap")},
            {"device", path_},
            {"driver", std::string("none")},
            {"mode", std::string("file")},
            {"format", std::string(pcapng_ ? "pcapng" : "pcap")},
            {"file_bytes", static_cast<int64_t>(file_.bytes().size())},
            {"queues", int64_t{1}},
            {"wakeup", std::string(pace_.paced() ? "clock_nanosleep, absolute deadlines"
                                                 : "never: frames are always ready")},
            {"timestamp_source",
             capture_stamps_ ? "capture (" + resolution_ + ")" : std::string("poll loop")},
            {"clock", std::string(clock_.source())},
            {"speed", speed_},
            {"loop", loops_},
            {"link_types", links},
            {"first_timestamp", first_stamp_},
            {"last_timestamp", last_stamp_.load(std::memory_order_relaxed)},
            {"write", writer_ ? writer_->path() : std::string()},
            {"steering", steering().describe()},
            {"tuning", std::vector<std::string>{}}};
  }

  Capabilities capabilities() const noexcept override {
    return {.tx = writer_.has_value(),
            .everything = true,
            .finite = true,
            .shareable = true,
            .max_frame = CaptureReader::kMaxPacket};
  }

 private:
  static constexpr uint32_t kNoLink = UINT32_MAX;

  // Without a capture to read the port can still be one to write to.
  static const std::string& checked_path(const std::string& path, const Options& options) {
    if (path.empty() && options.text("write").empty())
      throw config_error("device", "\"\"", "the path of a capture, e.g. pcap:/data/day.pcapng");
    return path;
  }

  // The next packet of the file into packet_, starting over as often as was asked. A batch ends
  // with the pass: its frames must not be restored under it.
  bool fetch(int64_t now, bool batch_begun) noexcept {
    while (!reader_.next(packet_)) {
      const bool any = reader_.counts().packets != packets_before_pass_;
      if (pass_ + 1 >= loops_ || !any) {
        finished_.store(true, std::memory_order_release);
        return false;
      }
      if (batch_begun) return false;
      pass_++;
      packets_before_pass_ = reader_.counts().packets;
      if (outstanding_ == 0) file_.restore();
      reader_.rewind();
      pace_.next_pass();
    }
    pending_ = true;
    due_ = pace_.paced() ? pace_.due(packet_.timestamp, now) : 0;
    return true;
  }

  bool to_ethernet(uint8_t*& frame, uint32_t& length) noexcept {
    if (packet_.link_type != last_link_) note_link(packet_.link_type);
    if (packet_.link_type == kLinkEthernet) return true;
    switch (lay_ethernet(packet_.link_type, packet_.big_endian, packet_.data, frame, length)) {
      case Laid::kEthernet:
        return true;
      case Laid::kUnsupported:
        counters_[kLinkTypeDropped].add(1);
        return false;
      case Laid::kMalformed:
        malformed_links_++;
        return false;
    }
    return false;
  }

  void note_link(uint16_t type) noexcept {
    last_link_ = type;
    for (auto& seen : links_seen_) {
      const uint32_t have = seen.load(std::memory_order_relaxed);
      if (have == type) return;
      if (have != kNoLink) continue;
      seen.store(type, std::memory_order_relaxed);
      return;
    }
  }

  void publish_counts() noexcept {
    const CaptureCounts& counts = reader_.counts();
    counters_[kMalformed].set(counts.malformed + malformed_links_);
    counters_[kUnknownBlocks].set(counts.unknown_blocks);
    counters_[kMalformedBlocks].set(counts.malformed_blocks);
    counters_[kTruncatedTail].set(counts.truncated_tail);
  }

  std::string path_;
  MappedFile file_;
  CaptureReader reader_;
  ReplayPace pace_;
  int64_t loops_;
  programs::SteerTable steer_;
  double speed_ = 0;
  bool capture_stamps_ = true;
  std::optional<CaptureWriter> writer_;
  bool pcapng_ = false;
  std::string resolution_;
  int64_t first_stamp_ = 0;
  Counter* counters_ = nullptr;

  CapturePacket packet_{};
  bool pending_ = false;  // packet_ waits to be handed out
  int64_t due_ = 0;
  int64_t pass_ = 0;
  uint64_t packets_before_pass_ = 0;
  uint64_t malformed_links_ = 0;
  uint64_t outstanding_ = 0;  // frames handed out and not given back
  uint32_t last_link_ = kNoLink;
  std::array<std::atomic<uint32_t>, 16> links_seen_ = make_empty();
  std::atomic<int64_t> last_stamp_{0};

  static std::array<std::atomic<uint32_t>, 16> make_empty() {
    return {kNoLink, kNoLink, kNoLink, kNoLink, kNoLink, kNoLink, kNoLink, kNoLink,
            kNoLink, kNoLink, kNoLink, kNoLink, kNoLink, kNoLink, kNoLink, kNoLink};
  }
};

}  // namespace

const Backend kPcapBackend{"pcap", "replays a pcap or pcapng file; needs nothing", "FILE", kOptions,
                           [](const PortConfig& config) -> std::unique_ptr<Port> {
                             return std::make_unique<PcapPort>(config);
                           }};

}  // namespace wp
