# SPDX-License-Identifier: Apache-2.0
"""veth pairs as a NIC's stand-in: queues, offloads, addresses, routes; and reading them back.

Every function here works on the network namespace of the calling thread.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ._errors import LabError, LabUnavailable
from ._plan import BRIDGE, PREFIX4, PREFIX6, Interface, LabSpec, Route, subnet4, subnet6

_IFA_F_NODAD: Final = 0x02  # linux/if_addr.h
_RT_SCOPE_LINK: Final = 253  # linux/rtnetlink.h
_CARRIER_SECONDS: Final = 5.0
_MAX_GROUPS: Final = 512  # memberships a socket may hold; a feed handler joins many groups

# What makes a veth behave as a NIC towards XDP and AF_XDP readers:
# - rx-gro: the receiving end then polls through NAPI even with no program attached, without which
#   frames that XDP redirects or transmits to it are dropped (drivers/net/veth.c, veth_xdp_xmit).
# - no checksum offload: a veth would hand over frames whose checksum was never filled in
#   (CHECKSUM_PARTIAL), and whoever reads past the kernel's stack would see it wrong. Segmentation
#   offload depends on it and falls with it, so no frame is longer than the MTU.
# - no VLAN offload on transmit: tags travel in the frame, not beside it where XDP cannot see them.
_FEATURES: Final = {
    "rx-gro": True,
    "tx-checksum-ip-generic": False,
    "tx-checksum-sctp": False,
    "tx-vlan-hw-insert": False,
    "tx-vlan-stag-hw-insert": False,
}

_XDP_MODES: Final = {  # pyroute2 decodes IFLA_XDP_ATTACHED to ip(8)'s words
    None: "none",
    "xdp": "native",
    "xdpgeneric": "generic",
    "xdpoffload": "hardware",
    "xdpmulti": "several",
}


@dataclass(frozen=True, slots=True)
class LinkState:
    """What the kernel says of one interface now. `xdp` is none, native, generic, …"""

    index: int
    up: bool
    mac: str
    mtu: int
    rx_queues: int
    tx_queues: int
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]
    xdp: str
    xdp_program: int | None
    gro: bool
    tx_checksum: bool


@contextmanager
def _netlink() -> Iterator[Any]:
    from pyroute2 import IPRoute  # noqa: PLC0415 -- slow to import

    with IPRoute() as link:
        yield link


@contextmanager
def _ethtool(interface: str) -> Iterator[Any]:
    from pyroute2.ethtool.ioctl import IoctlEthtool  # noqa: PLC0415 -- slow to import

    tool = IoctlEthtool(interface)
    try:
        yield tool
    finally:
        tool.close()


def _sysctl(values: dict[str, int]) -> None:
    # /proc/sys/net shows the namespace of the thread that looks it up.
    for key, value in values.items():
        Path("/proc/sys/net", key).write_text(f"{value}\n")


def prepare_namespace(spec: LabSpec, *, forwarding: bool) -> None:
    """Loopback up, and the settings that later interfaces inherit."""
    values = {"ipv4/ip_forward": int(forwarding), "ipv4/igmp_max_memberships": _MAX_GROUPS}
    for scope in ("all", "default"):
        values[f"ipv4/conf/{scope}/rp_filter"] = 0
    if spec.ipv6:
        if not Path("/proc/sys/net/ipv6").exists():
            raise LabUnavailable("the kernel has IPv6 switched off: pass ipv6=False to the lab")
        for scope in ("all", "default"):
            base = f"ipv6/conf/{scope}"
            values[f"{base}/disable_ipv6"] = 0
            values[f"{base}/accept_dad"] = 0
            values[f"{base}/accept_ra"] = 0
            values[f"{base}/router_solicitations"] = 0
        values["ipv6/conf/all/forwarding"] = int(forwarding)
    elif Path("/proc/sys/net/ipv6").exists():
        values |= {f"ipv6/conf/{scope}/disable_ipv6": 1 for scope in ("all", "default")}
    _sysctl(values)
    with _netlink() as link:
        link.link("set", index=1, state="up")  # lo is always the first interface


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair to be made. `index` is the interface index, unique in the lab."""

    name: str
    index: int
    mac: str | None


def add_veth(spec: LabSpec, near: End, far: End, far_fd: int) -> None:
    """Makes a veth pair: one end here, the other in the namespace behind `far_fd`.

    The ends must differ in index: of a device whose index equals that of its link, the kernel
    thinks the news not urgent, and reports the carrier a second late (net/core/link_watch.c).

    Raises:
        LabUnavailable: the kernel has no veth driver.
    """
    near_end, far_end = _end(spec, near), _end(spec, far)
    with _netlink() as link, _explained("veth"):
        link.link("add", kind="veth", **near_end, peer={**far_end, "net_ns_fd": far_fd})


def _end(spec: LabSpec, end: End) -> dict[str, Any]:
    fields = {
        "ifname": end.name,
        "index": end.index,
        "mtu": spec.mtu,
        "num_rx_queues": spec.queues,
        "num_tx_queues": spec.queues,
    }
    return fields if end.mac is None else {**fields, "address": end.mac}


@contextmanager
def _explained(driver: str) -> Iterator[None]:
    from pyroute2 import NetlinkError  # noqa: PLC0415 -- slow to import

    try:
        yield
    except NetlinkError as error:
        if error.code in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
            raise LabUnavailable(
                f"the kernel cannot make a {driver} link ({os.strerror(error.code)}): "
                f"sudo modprobe {driver}, or build the kernel with CONFIG_{driver.upper()}"
            ) from error
        raise LabError(f"the kernel refused the {driver} link: {error}") from error


def add_bridge(spec: LabSpec) -> None:
    """Makes the switch of a "lan": floods multicast, forwards from the first frame on."""
    with _netlink() as link, _explained("bridge"):
        link.link(
            "add",
            ifname=BRIDGE,
            kind="bridge",
            br_stp_state=0,
            br_forward_delay=0,
            br_mcast_snooping=0,
        )
        link.link("set", ifname=BRIDGE, mtu=spec.mtu, state="up")


def plug_into_bridge(port: str) -> None:
    """Joins a veth end to the bridge of this namespace and brings it up."""
    with _netlink() as link:
        (bridge,) = link.link_lookup(ifname=BRIDGE)
        link.link("set", ifname=port, master=bridge)
        link.link("set", ifname=port, state="up")
    set_features(port)


def set_features(interface: str) -> None:
    """Switches the offloads as `_FEATURES` says and reads them back."""
    with _ethtool(interface) as tool:
        features = tool.get_features()
        for name, wanted in _FEATURES.items():
            # What the driver does not have, or never switches on, is off already.
            if name in features or wanted:
                features[name] = wanted
        tool.set_features(features)
        features = tool.get_features()
        wrong = [n for n, wanted in _FEATURES.items() if wanted is not _active(features, n)]
    if wrong:
        raise LabError(
            f"{interface}: the kernel did not switch {', '.join(wrong)}; "
            f"see: ethtool --show-features {interface}"
        )


def _active(features: Mapping[str, object], name: str) -> bool:
    return name in features and bool(features[name])


def configure(spec: LabSpec, interface: Interface) -> None:
    """Offloads, addresses, neighbours and the multicast route of one interface; brings it up."""
    name = interface.name
    _sysctl({f"ipv4/conf/{name}/rp_filter": 0})
    if spec.ipv6:
        _sysctl({f"ipv6/conf/{name}/accept_dad": 0})
    set_features(name)
    with _netlink() as link:
        (index,) = link.link_lookup(ifname=name)
        link.addr("add", index=index, address=interface.ipv4, prefixlen=PREFIX4)
        if interface.ipv6 is not None:
            link.addr(
                "add",
                index=index,
                address=interface.ipv6,
                prefixlen=PREFIX6,
                flags=_IFA_F_NODAD,
            )
        link.link("set", index=index, state="up")
        # The first interface wins where a program names none; it can always name one.
        link.route(
            "add",
            dst="224.0.0.0/4",
            oif=index,
            scope=_RT_SCOPE_LINK,
            priority=1 + int(name.removeprefix("wp")),
        )
        # Permanent neighbours: a reader that takes every frame also takes ARP and ND, and the
        # other side could then never resolve it.
        for peer in interface.peers:
            for address in filter(None, (peer.ipv4, peer.ipv6)):
                link.neigh("add", dst=address, lladdr=peer.mac, ifindex=index, state="permanent")


def wait_for_carrier(interfaces: list[str]) -> None:
    """Returns when all are operationally up: until then the kernel drops what is sent."""
    deadline = time.monotonic() + _CARRIER_SECONDS
    with _netlink() as link:
        while True:
            states = {
                message.get_attr("IFLA_IFNAME"): message.get_attr("IFLA_OPERSTATE")
                for message in link.get_links()
            }
            waiting = [name for name in interfaces if states.get(name) != "UP"]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise LabError(
                    f"{', '.join(waiting)}: no carrier after {_CARRIER_SECONDS:.0f} seconds"
                )
            time.sleep(0.005)


def add_routes(routes: list[Route]) -> None:
    """Static routes to the segments that this host is not on."""
    with _netlink() as link:
        for route in routes:
            link.route("add", dst=subnet4(route.segment), gateway=route.via4)
            if route.via6 is not None:
                link.route("add", dst=subnet6(route.segment), gateway=route.via6)


def delete_links() -> None:
    """Deletes every veth and bridge here, at once; freeing a namespace does so only later."""
    from pyroute2 import NetlinkError  # noqa: PLC0415 -- slow to import

    with _netlink() as link:
        for message in link.get_links():
            info = message.get_attr("IFLA_LINKINFO")
            if info is None or info.get_attr("IFLA_INFO_KIND") not in ("veth", "bridge"):
                continue
            try:
                link.link("del", index=message["index"])
            except NetlinkError as error:
                if error.code != errno.ENODEV:  # gone already, with its other end
                    raise


def read_state(interface: str) -> LinkState | None:
    """Reads one interface back from the kernel; None if it is not there."""
    with _netlink() as link:
        found = link.link_lookup(ifname=interface)
        if not found:
            return None
        (index,) = found
        (message,) = link.get_links(index)
        addresses: dict[int, list[str]] = {4: [], 6: []}
        for address in link.get_addr(index=index):
            text = address.get_attr("IFA_ADDRESS")
            addresses[6 if ":" in text else 4].append(f"{text}/{address['prefixlen']}")
    xdp = message.get_attr("IFLA_XDP")
    mode = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp is not None else None
    program = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp is not None else None
    with _ethtool(interface) as tool:
        features = tool.get_features()
        channels = tool.get_channels()
        return LinkState(
            index=index,
            up=message.get_attr("IFLA_OPERSTATE") == "UP",
            mac=message.get_attr("IFLA_ADDRESS"),
            mtu=message.get_attr("IFLA_MTU"),
            rx_queues=int(channels["rx_count"]),
            tx_queues=int(channels["tx_count"]),
            ipv4=tuple(addresses[4]),
            ipv6=tuple(addresses[6]),
            xdp=_XDP_MODES.get(mode, f"unknown ({mode})"),
            xdp_program=program or None,
            gro=_active(features, "rx-gro"),
            tx_checksum=_active(features, "tx-checksum-ip-generic"),
        )
