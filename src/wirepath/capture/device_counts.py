"""What a port received and lost by its own counters, for the statistics at the end of a file."""

from __future__ import annotations

from collections import Counter

from ..errors import PortError
from ..series import series
from ..telemetry import attach, counters

# Frames of other flows than the port was opened with: seen by some ports, lost by none.
_OTHERS = ("filtered", "fragment")


class PortCounts:
    """Counters of a port of a process since this was made. process: its number, "" = this one.

    Ports of the same spec in one process are counted together.
    """

    def __init__(self, process: str, spec: str) -> None:
        self._process, self._spec = process, spec
        self._before = self._read()
        self._last = self._before

    def _read(self) -> Counter[str]:
        out: Counter[str] = Counter()
        snapshot = attach(self._process) if self._process else counters()
        for each in series(snapshot):
            if each.kind != "port" or each.label("port") != self._spec or each.gauge:
                continue
            cause = each.label("cause")
            out[f"drop.{cause}" if each.name == "drops" else each.name] += each.value
        return out

    def since(self) -> Counter[str]:
        """Changes by counter, drops as ``drop.<cause>``; the last known where it has gone."""
        try:
            now = self._read()
        except PortError:
            now = self._last
        # A port that was closed takes its counters with it.
        if now.get("rx_packets", 0) >= self._last.get("rx_packets", 0):
            self._last = now
        return Counter({name: n - self._before[name] for name, n in self._last.items()})


def told(counts: Counter[str]) -> tuple[int | None, int, str]:
    """(frames received, frames lost, the losses in words) of :meth:`PortCounts.since`."""
    named = ((n.removeprefix("drop."), c) for n, c in counts.items() if n.startswith("drop.") and c)
    drops = {name: n for name, n in named if name not in _OTHERS}
    words = ", ".join(f"{name} {n}" for name, n in sorted(drops.items()))
    received = counts.get("rx_packets")
    return received, sum(drops.values()), f"drops: {words}" if words else ""
