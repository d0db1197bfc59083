"""Whether a way around the kernel does what it should, from readings of counters. Without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from .config import ALL_FLOWS, SwitchConfig


@dataclass(frozen=True)
class Reading:
    """Counters of one moment. now: ns of any clock that goes forward. share: in force, in 65536ths.

    way, kernel: what the ports say (:meth:`wirepath.Port.stats`). link: "up", "down" or another
    word where that cannot be told. polls: of the port that has both; claimed: somebody drives it.
    """

    now: int
    way: Mapping[str, int]
    kernel: Mapping[str, int] = field(default_factory=dict)
    share: int = ALL_FLOWS
    link: str = "up"
    finished: bool = False
    polls: int = 0
    claimed: bool = True


@dataclass(frozen=True)
class Health:
    """fit: True, False with the reason, or None where nothing can be said of it now."""

    fit: bool | None
    reason: str = ""


_UNKNOWN = Health(None)
_STEERED = ("steer.matched", "steer.passed", "steer.no_socket")


def drops(stats: Mapping[str, int]) -> dict[str, int]:
    """Received frames that a port lost, by counter."""
    return {
        name: count
        for name, count in stats.items()
        if name.startswith("drop.") and not name.startswith("drop.tx_")
    }


class Judge:
    """Judges one way by what changed over the last ``silence`` seconds."""

    def __init__(self, config: SwitchConfig) -> None:
        self.config = config
        self._readings: deque[Reading] = deque()
        self._polled = (0, 0)  # polls, and when they last rose

    def forget(self) -> None:
        """What came before says nothing of what comes now: another share, another port."""
        self._readings.clear()

    def look(self, reading: Reading) -> Health:
        """The verdict of this moment."""
        window = round(self.config.silence * 1e9)
        if not self._readings or self._polled[0] != reading.polls or not reading.claimed:
            self._polled = (reading.polls, reading.now)
        if reading.finished:
            return Health(False, "it has ended: its interface is gone")
        if reading.link == "down":
            self.forget()
            return _UNKNOWN
        if self._readings and self._readings[-1].share != reading.share:
            self.forget()
        self._readings.append(reading)
        while len(self._readings) > 1 and reading.now - self._readings[1].now >= window:
            self._readings.popleft()
        still = reading.now - self._polled[1]
        if reading.claimed and still >= self.config.stalled * 1e9:
            return Health(False, f"stalled: its worker has not polled for {still / 1e9:.1f} s")
        first = self._readings[0]
        if len(self._readings) < 2:
            return _UNKNOWN
        trouble = self._lossy(first, reading)
        if not trouble and reading.now - first.now >= window and reading.polls != first.polls:
            trouble = self._silent(first, reading)
        return Health(False, trouble) if trouble else Health(True)

    def _lossy(self, a: Reading, b: Reading) -> str:
        config = self.config
        received = _rise(a.way, b.way, "rx_packets")
        before = drops(a.way)
        lost = {name: n - before.get(name, 0) for name, n in drops(b.way).items()}
        total = sum(lost.values())
        if received + total >= config.min_frames and total > config.max_drop * (received + total):
            worst = max(lost, key=lambda name: lost[name])
            return f"lossy: {total} of {received + total} frames dropped, most in {worst}"
        good, bad = _rise(a.way, b.way, "nic.rx_packets"), _rise(a.way, b.way, "nic.rx_errors")
        if good + bad >= config.min_frames and bad > config.max_errors * (good + bad):
            return f"errors: the interface counts {bad} of {good + bad} frames as errors"
        return ""

    def _silent(self, a: Reading, b: Reading) -> str:
        enough = self.config.silence_frames
        received = _rise(a.way, b.way, "rx_packets")
        lost = sum(drops(b.way).values()) - sum(drops(a.way).values())
        if "steer.matched" in b.way:
            seen = sum(_rise(a.way, b.way, name) for name in _STEERED)
            came = _rise(a.way, b.way, "nic.rx_packets")
            if seen == 0 and came >= enough:
                return f"bypassed: its XDP program saw none of {came} frames"
            matched = _rise(a.way, b.way, "steer.matched")
            if matched >= enough and received + lost == 0:
                return f"stuck: {matched} frames were redirected to it and none came out"
        past = _rise(a.kernel, b.kernel, "rx_packets")
        if b.share >= ALL_FLOWS and received + lost == 0 and past >= enough:
            return f"silent: {past} of its frames came by the kernel's way and none by it"
        return ""


def _rise(a: Mapping[str, int], b: Mapping[str, int], name: str) -> int:
    return b.get(name, 0) - a.get(name, 0)
