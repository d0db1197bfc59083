# SPDX-License-Identifier: Apache-2.0
"""What each backend by its nature cannot do, and why.

A test names the capabilities that it needs. Benches that lack one are left out of it only if they
stand here, and only as long as the open port declares the very same: test_declarations.py holds
this table against `port.capabilities`, in both directions.
"""

from __future__ import annotations

from file_benches import NullBench, PcapBench
from kernel_benches import AfXdpBench, DpdkVethBench, EfViBench, SocketBench, TapBench
from memif_bench import MemifBench

JUMBO = 3014  # bytes of a frame on a wire with an MTU of 3000

# Name, how it is made, and its options.
BENCHES = {
    "null": (NullBench, {}),
    "pcap": (PcapBench, {}),
    "socket": (SocketBench, {}),
    "af_xdp-generic": (AfXdpBench, {"mode": "generic"}),
    "af_xdp-native": (AfXdpBench, {"mode": "native"}),
    "dpdk-memif": (MemifBench, {}),
    "dpdk-af_xdp": (DpdkVethBench, {"driver": "net_af_xdp"}),
    "dpdk-af_packet": (DpdkVethBench, {"driver": "net_af_packet"}),
    "dpdk-tap": (TapBench, {}),
    "ef_vi-x2": (EfViBench, {"nic": "x2"}),
    "ef_vi-x2-merged": (EfViBench, {"nic": "x2", "event_merge": True}),
    "ef_vi-x3": (EfViBench, {"nic": "x3"}),
    "ef_vi-x3-shared": (EfViBench, {"nic": "x3", "zero_copy": "require"}),
}

_PASS = {"pass": "nothing hands a frame back to the kernel from user space yet"}
_WHOLE = _PASS | {"divert": "it takes all flows of its steering or none"}
_DPDK = _WHOLE | {
    "waitable": "poll-mode drivers raise no interrupt",
    "shareable": "a device has one owner",
    "jumbo": "drivers without hardware carry an MTU of 1500",
}
_EF_VI = _WHOLE | {"multi_queue": "one virtual interface a port"}

LACKS: dict[str, dict[str, str]] = {
    "null": _WHOLE
    | {
        "waitable": "frames are always ready",
        "wire": "its frames are made up",
        "link": "there is no other side",
        "rest_to_host": "there is no host beside it",
    },
    "pcap": _WHOLE
    | {
        "multi_queue": "a file has one order",
        "waitable": "frames are ready, or paced by time alone",
        "live": "a capture ends",
        "link": "a file has no other side",
        "rest_to_host": "there is no host beside it",
    },
    "socket": _WHOLE
    | {
        "multi_queue": "the kernel has demultiplexed already",
        "everything": "a UDP socket takes what is sent to its address",
        "ethernet_headers": "the kernel takes the headers off",
    },
    "af_xdp-generic": _PASS | {"shareable": "an AF_XDP socket owns its queue"},
    "af_xdp-native": _PASS | {"shareable": "an AF_XDP socket owns its queue"},
    "dpdk-memif": _DPDK | {"rest_to_host": "there is no host beside it"},
    "dpdk-af_xdp": _DPDK | {"rest_to_host": "the driver takes every frame of its queue"},
    "dpdk-af_packet": _DPDK,
    "dpdk-tap": _DPDK | {"rest_to_host": "the host is the other side"},
    "ef_vi-x2": _EF_VI,
    "ef_vi-x2-merged": _EF_VI,
    "ef_vi-x3": _EF_VI | {"jumbo": "the NIC's buffers are in parts of 2 KiB"},
    "ef_vi-x3-shared": _EF_VI
    | {
        "jumbo": "the NIC's buffers are in parts of 2 KiB",
        "writable": "frames stand in buffers that others read too",
    },
}


def lacks(port):
    """What an open port declares that it cannot do."""
    out = {name for name, can in port.capabilities.items() if can is False}
    out.discard("finite")
    if port.capabilities["finite"]:
        out.add("live")
    return out
