"""Where every packet and message went: ``published = delivered + sum of counted drops``.

Packets and messages have an equation each. Every line of them is a counter that some layer kept,
or a difference of sequence numbers; what remains is the residual, and it must be 0.
"""

from __future__ import annotations

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


def feed_packet_drops(snapshot: Mapping[str, Any]) -> list[Line]:
    """Frames that reached the feed and carried nothing for it."""
    mold = snapshot.get("mold", {})
    return [
        Line("feed.not_udp", snapshot.get("not_udp", 0), "no UDP datagram"),
        Line("feed.other_flow", snapshot.get("other_flow", 0), "another address or port"),
        Line("feed.malformed_packet", mold.get("malformed", 0), "no MoldUDP64 packet"),
        Line("feed.wrong_session", mold.get("wrong_session", 0), "another session"),
    ]


def feed_message_drops(snapshot: Mapping[str, Any]) -> list[Line]:
    """Messages that arrived and did not go into the ring."""
    return [
        Line(
            "feed.unknown", snapshot.get("unknown", 0), "message type that ITCH 5.0 does not have"
        ),
        Line("feed.malformed_message", snapshot.get("malformed", 0), "wrong length for its type"),
        Line("ring.full", snapshot.get("ring_full", 0), "the ring was full"),
    ]


def dropped(stats: Mapping[str, int], snapshot: Mapping[str, Any]) -> dict[str, int]:
    """Layer to count: everything that a receiver knows to have lost or left out."""
    lines = [*port_drops(stats), *feed_packet_drops(snapshot), *feed_message_drops(snapshot)]
    mold = snapshot.get("mold", {})
    out = {line.layer: line.count for line in lines}
    out["line.missing"] = mold.get("gap_open", 0) + mold.get("lost", 0)
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
    mold = snapshot["mold"]
    accepted = mold["packets"] - mold["malformed"] - mold["wrong_session"]
    packets = Side(published["packets"], accepted, tuple(lines))

    drops = [
        *feed_message_drops(snapshot),
        Line("feed.empty", mold["empty"], "sequence numbers without a message"),
    ]
    following = published.get("next_sequence")
    if following is None:
        # A capture brings its own gaps and repeats, so numbers say nothing of what was lost here.
        drops.append(Line("feed.duplicate", mold["duplicates"], "repeated by the capture"))
        known = snapshot["delivered"] + sum(line.count for line in drops)
        lost = published["messages"] - known if packets.dropped else 0
        drops.append(Line("line.lost", lost, "in the packets that were lost"))
    else:
        tail = following - (snapshot["next_sequence"] or published["first_sequence"])
        drops.append(
            Line("line.gaps", mold["gap_open"] + mold["lost"], "in packets lost on the way")
        )
        drops.append(Line("line.tail", max(tail, 0), "after the last packet that arrived"))
    # Messages that the publisher itself left out have sequence numbers, so the receiver misses
    # them too: they were never published.
    unsent = published.get("drops", {}).get("drop.messages", 0)
    if unsent:
        drops.append(Line("publisher.dropped", -unsent, "never handed to the port"))
    messages = Side(published["messages"], snapshot["delivered"], tuple(drops))
    return Account(packets, messages)
