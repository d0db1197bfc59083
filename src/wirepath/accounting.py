"""Where every packet and message went: ``published = delivered + sum of counted drops``.

Packets and messages have an equation each. Every line of them is a counter that some layer kept,
or a difference of sequence numbers; what remains is the residual, and it must be 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Receiving drops of a port that happen behind the steering, by counter, and what to say of them.
_WHY = {
    "socket_buffer": "the socket's receive buffer was full",
    "rx_ring_full": "the AF_XDP receive ring was full",
    "fill_ring_empty": "the AF_XDP fill ring had no buffer",
    "rx_other": "the AF_XDP socket refused it",
    "rx_no_desc": "the NIC had no descriptor",
    "rx_no_buffer": "every buffer was held",
    "rx_checksum": "the NIC found a wrong checksum",
    "rx_crc": "the NIC found a wrong frame check sequence",
    "rx_too_long": "longer than a packet buffer",
    "rx_truncated": "cut short on the wire",
    "truncated": "longer than a frame buffer",
    "malformed": "no headers to make sense of",
    "filtered": "another flow, steered past",
    "fragment": "a piece of a datagram",
    "link_type": "a link type that is not understood",
    "missed": "the device had no descriptor left",
    "kernel_ring_full": "the kernel's packet ring was full",
    "tap_queue_full": "the TAP's queue was full",
    "multi_segment": "longer than a frame buffer",
}
# What feed_totals takes from where.
_OF_UNITS = (
    *("late", "recovered", "empty", "held", "superseded", "gaps", "gap_messages", "gap_filled"),
    *("gap_open", "abandoned", "gaps_abandoned", "session_changes", "resets"),
)
_OF_LINES = (
    *("packets", "wrong_session", "unknown_unit", "stale", "doubted", "ignored", "heartbeats"),
    "end_of_session",
)
_OF_DECODER = (
    *("filtered", "filtered_records", "unknown", "malformed", "no_record", "delivered"),
    "ring_full",
)
_TOTALS = (
    *(*_OF_UNITS, *_OF_LINES, *_OF_DECODER),
    *("messages", "missing", "duplicates", "malformed_packets", "injected"),
)
# Frames of other flows than the one published: a port that sees all of them counts them.
_OTHERS = ("port.filtered", "port.fragment")


@dataclass(frozen=True)
class Line:
    """One place where frames or messages ended: ``layer`` names the counter."""

    layer: str
    count: int
    why: str


@dataclass(frozen=True)
class Side:
    """One equation: ``published`` = ``delivered`` + the ``drops``."""

    published: int
    delivered: int
    drops: tuple[Line, ...]

    @property
    def dropped(self) -> int:
        return sum(line.count for line in self.drops)

    @property
    def residual(self) -> int:
        """What nothing explains. 0 when the equation adds up."""
        return self.published - self.delivered - self.dropped

    def equation(self) -> str:
        """The equation with its figures, drops that are not zero by name."""
        terms = [f"{line.count:,} {line.layer}" for line in self.drops if line.count]
        right = " + ".join([f"{self.delivered:,} delivered", *terms])
        sign = "=" if self.residual == 0 else "≠"
        rest = "" if self.residual == 0 else f"  (residual {self.residual:,})"
        return f"{self.published:,} published {sign} {right}{rest}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "published": self.published,
            "delivered": self.delivered,
            "drops": {line.layer: line.count for line in self.drops},
            "residual": self.residual,
            "equation": self.equation(),
        }


@dataclass(frozen=True)
class Account:
    """Both equations of one run."""

    packets: Side
    messages: Side

    @property
    def balanced(self) -> bool:
        """Every packet and message is accounted for."""
        return self.packets.residual == 0 and self.messages.residual == 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "balanced": self.balanced,
            "packets": self.packets.to_dict(),
            "messages": self.messages.to_dict(),
        }


def port_drops(stats: Mapping[str, int]) -> list[Line]:
    """Received frames that a port lost, by its counters."""
    out = []
    for name, count in stats.items():
        short = name.removeprefix("drop.")
        if short != name and not short.startswith("tx_"):
            out.append(Line(f"port.{short}", count, _WHY.get(short, "counted by the port")))
    return out


def feed_totals(snapshot: Mapping[str, Any]) -> dict[str, int]:
    """Counters of a feed's snapshot summed over its channels, their units and live lines.

    ``packets`` of the lines; ``messages`` passed on by the arbiters, with those outside any
    sequence; ``duplicates`` of the other line or of the same; ``missing``: known to exist, and not
    come. All 0 for an empty snapshot.
    """
    out: Counter[str] = Counter(dict.fromkeys(_TOTALS, 0))
    for channel in snapshot.get("channels", ()):
        units, lines = channel["counters"], channel["lines"]
        out.update({name: units[name] for name in _OF_UNITS})
        out["messages"] += units["delivered"]
        out["missing"] += units["gap_open"] + units["abandoned"]
        for line in lines:
            out["messages"] += line["unsequenced_messages"]
            out["duplicates"] += line["duplicates"] + line["too_late"]
            if line["live"]:
                out["malformed_packets"] += line["malformed"]
                out.update({name: line[name] for name in _OF_LINES})
        out.update({name: channel[name] for name in _OF_DECODER})
        out["injected"] += channel["recovery"]["injected"]
    return dict(out)


def by_type(snapshot: Mapping[str, Any]) -> dict[str | int, int]:
    """Messages by type, over all channels."""
    out: Counter[str | int] = Counter()
    for channel in snapshot.get("channels", ()):
        out.update(channel["by_type"])
    return dict(out)


def gaps(snapshot: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Open gaps of all channels, first and last number inclusive."""
    return [gap for channel in snapshot.get("channels", ()) for gap in channel["gaps"]]


def feed_packet_drops(snapshot: Mapping[str, Any]) -> list[Line]:
    """Frames that reached the feed and carried nothing for it."""
    total = feed_totals(snapshot)
    return [
        Line("feed.not_udp", snapshot.get("not_udp", 0), "no UDP datagram"),
        Line("feed.other_flow", snapshot.get("other_flow", 0), "another address or port"),
        Line("feed.malformed_packet", total["malformed_packets"], "no packet of the protocol"),
        Line("feed.wrong_session", total["wrong_session"], "another session"),
        Line("feed.unknown_unit", total["unknown_unit"], "more units than there is room for"),
        Line("feed.stale", total["stale"], "of a session or sequence that was over"),
        Line("feed.doubted", total["doubted"], "a sequence number out of reach"),
        Line("feed.ignored", total["ignored"], "nothing in it for a receiver"),
    ]


def feed_message_drops(snapshot: Mapping[str, Any]) -> list[Line]:
    """Messages that arrived and did not go into the ring."""
    total = feed_totals(snapshot)
    return [
        Line("feed.unknown", total["unknown"], "message type that the protocol does not have"),
        Line("feed.malformed_message", total["malformed"], "wrong length for its type"),
        Line("feed.filtered", total["filtered"] + total["filtered_records"], "not asked for"),
        Line("feed.held", total["held"], "waiting for what is missing before it"),
        Line("feed.superseded", total["superseded"], "a snapshot had it"),
        Line("ring.full", snapshot.get("ring_full", 0), "the ring was full"),
    ]


def dropped(stats: Mapping[str, int], snapshot: Mapping[str, Any]) -> dict[str, int]:
    """Layer to count: everything that a receiver knows to have lost or left out."""
    lines = [*port_drops(stats), *feed_packet_drops(snapshot), *feed_message_drops(snapshot)]
    out = {line.layer: line.count for line in lines}
    out["line.missing"] = feed_totals(snapshot)["missing"]
    return out


def account(
    published: Mapping[str, Any],
    stats: Mapping[str, int],
    snapshot: Mapping[str, Any],
    *,
    driver: str = "",
) -> Account:
    """The account of one run.

    published: report of the publisher (:meth:`wirepath.publish.Publisher.report`), exact. stats:
    the receiving port's counters. snapshot: the feed's, taken after it stopped, with
    ``next_sequence`` of its configuration set to the publisher's first, so that loss at the very
    beginning is seen as a gap (not for a capture, whose packets keep their numbers). driver: of
    the receiving interface.

    The receiver was open before the publisher began, and was left running until nothing came any
    more: frames that it holds and has not read appear in the residual.
    """
    sender = published["port_stats"]
    lines = [
        Line("sender.refused", sender.get("drop.tx_refused", 0), "the kernel refused the frame"),
        Line("sender.nic", sender.get("nic.tx_dropped", 0), "the sending NIC's queue was full"),
        Line("nic.rx_missed", stats.get("nic.rx_missed", 0), "the NIC had no buffer"),
        Line("nic.rx_overruns", stats.get("nic.rx_overruns", 0), "the NIC's queue overran"),
    ]
    # A veth drops in the sender's context and counts there (tx_dropped); its rx_dropped repeats
    # that, or what the XDP socket counts by itself. Loopback's repeats the socket's.
    if driver not in ("veth", "", "none", "loopback", "lo"):
        lines.append(
            Line("nic.rx_dropped", stats.get("nic.rx_dropped", 0), "the driver dropped it")
        )
    lines += [line for line in port_drops(stats) if line.layer not in _OTHERS]
    lines += feed_packet_drops(snapshot)
    total = feed_totals(snapshot)
    refused = ("malformed_packets", "wrong_session", "unknown_unit", "stale", "doubted", "ignored")
    accepted = total["packets"] - sum(total[name] for name in refused)
    packets = Side(published["packets"], accepted, tuple(lines))

    drops = [
        *feed_message_drops(snapshot),
        Line("feed.empty", total["empty"], "sequence numbers without a message"),
    ]
    following = published.get("next_sequence")
    if following is None:
        # A capture brings its own gaps and repeats, so numbers say nothing of what was lost here.
        drops.append(Line("feed.duplicate", total["duplicates"], "repeated by the capture"))
        known = snapshot["delivered"] + sum(line.count for line in drops)
        lost = published["messages"] - known if packets.dropped else 0
        drops.append(Line("line.lost", lost, "in the packets that were lost"))
    else:
        units = [unit for channel in snapshot["channels"] for unit in channel["state"]]
        highest = max((unit["highest"] for unit in units), default=0)
        tail = following - (highest or published["first_sequence"])
        drops.append(Line("line.gaps", total["missing"], "in packets lost on the way"))
        drops.append(Line("line.tail", max(tail, 0), "after the last packet that arrived"))
    # Messages that the publisher itself left out have sequence numbers, so the receiver misses
    # them too: they were never published.
    unsent = published.get("drops", {}).get("drop.messages", 0)
    if unsent:
        drops.append(Line("publisher.dropped", -unsent, "never handed to the port"))
    messages = Side(published["messages"], snapshot["delivered"], tuple(drops))
    return Account(packets, messages)
