"""What became of one load: the counts of both ends as a :class:`Repeat`, its losses by layer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from .. import hdr
from .._core import Histogram
from ..accounting import port_drops
from ..stats import percentiles
from .result import Account, Distribution, Layer, Repeat, Timeline

_OTHER_FLOWS = ("port.filtered", "port.fragment")  # frames that are none of the sender's


def _distribution(values: Mapping[str, Any]) -> Distribution:
    histogram: Histogram = hdr.decode_compressed(base64.b64decode(values["hdr"]))
    parts = {name: values[name] for name in ("min", "max", "mean", "negative", "overflow")}
    if not histogram.total:
        return Distribution.of(histogram)
    # Decoded values stand at the low edge of their buckets; extremes are known exactly.
    exact = percentiles(histogram)
    exact = {name: min(max(v, parts["min"]), parts["max"]) for name, v in exact.items()}
    exact["max"] = parts["max"]
    return Distribution(total=histogram.total, percentiles=exact, hdr=values["hdr"], **parts)


def stamped(info: Mapping[str, Any]) -> bool:
    """Whether a port's stamps say when a frame arrived, and not when it was polled."""
    source = str(info.get("timestamp_source") or "none")
    return not source.startswith(("poll loop", "none"))


def repeat_of(
    seconds: float, sent: Mapping[str, Any], got: Mapping[str, Any], timeline: Timeline
) -> Repeat:
    process = got["cpu"]["process"]
    return Repeat(
        seconds=seconds,
        planned=sent["planned"],
        sent=sent["sent"],
        refused=sent["refused"],
        unsent=sent["unsent"],
        received=got["received"],
        duplicates=got["duplicates"],
        reordered=got["reordered"],
        other={name: got[name] for name in ("foreign", "other_run", "outside")},
        account=account(sent, got),
        latency=_distribution(got["latency"]),
        jitter=_distribution(got["variation"]),
        from_stamp=_distribution(got["from_stamp"]) if stamped(got["info"]) else None,
        sender_lateness=_distribution(sent["lateness"]),
        timeline=timeline,
        cpu=got["cpu"],
        worker_cpu_seconds=process["user_seconds"] + process["system_seconds"],
        sender_cpu_seconds=sent["cpu_ns"] / 1e9,
        perf=got["perf"],
        counters={name: n for name, n in got["stats"].items() if n},
        stalled_ns=got["stalled_ns"],
        clock_step_ns=got["clock_step_ns"],
    )


def account(sent: Mapping[str, Any], got: Mapping[str, Any]) -> Account:
    """Where every planned packet went, by what sender, kernel and receiver counted.

    sent: the sender's counts with the growth of its port's counters as ``stats``. got: the
    receiver's with its port's ``stats`` and ``info``.
    """
    there, here = sent["stats"], got["stats"]
    lines = [
        ("sender.unsent", sent["unsent"], "the sender was too far behind, and gave up"),
        ("sender.refused", sent["refused"], "the sending port had no room"),
        ("sender.kernel", there.get("drop.tx_refused", 0), "the kernel refused the frame"),
        ("sender.nic", there.get("nic.tx_dropped", 0), "the sending NIC's queue was full"),
        ("nic.rx_missed", here.get("nic.rx_missed", 0), "the NIC had no buffer"),
        ("nic.rx_overruns", here.get("nic.rx_overruns", 0), "the NIC's queue overran"),
    ]
    info = got["info"]
    driver = str(info.get("interface_driver") or info.get("driver", ""))
    # A veth counts at the sender what it drops, and the loopback repeats what the socket counts.
    if driver not in ("veth", "", "none", "loopback", "lo"):
        lines.append(("nic.rx_dropped", here.get("nic.rx_dropped", 0), "the driver dropped it"))
    lines += [
        (line.layer, line.count, line.why)
        for line in port_drops(here)
        if line.layer not in _OTHER_FLOWS
    ]
    layers = [Layer(layer=name, count=count, why=why) for name, count, why in lines]
    known = sum(layer.count for layer in layers)
    return Account(
        planned=sent["planned"],
        received=got["received"],
        layers=layers,
        residual=sent["planned"] - got["received"] - known,
    )
