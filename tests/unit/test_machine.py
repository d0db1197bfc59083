# SPDX-License-Identifier: Apache-2.0
"""Reading a machine: the kernel's recorded netlink answers, and files under another root."""

from __future__ import annotations

import errno
import gzip
import json
import os
import socket
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from machines import ENO1, PCI, FakeLinks, build, write

from wirepath.machine import (
    Channels,
    KernelLinks,
    KernelWire,
    Link,
    Machine,
    QueueVector,
    Rings,
    Unseen,
    XdpFeatures,
)
from wirepath.machine._links import nic_of
from wirepath.machine._messages import (
    ChannelsMessage,
    CoalesceMessage,
    FeaturesMessage,
    NapiMessage,
    NetdevMessage,
    QueueMessage,
    RssMessage,
    TsinfoMessage,
    flags,
)
from wirepath.machine._nic import UNSUPPORTED

# Answers of Linux 6.18 to every question that is asked of an interface; a number is an errno.
RECORDED = json.loads((Path(__file__).parent / "data/netlink.json").read_text())


class RecordedWire:
    """Answers as they were recorded."""

    def __init__(self, answers):
        self._answers = answers

    def ask(self, family, message, *, dump=False):
        answer = self._answers[f"{family} {message['cmd']}"]
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return [part if isinstance(part, bytes) else bytes.fromhex(part) for part in answer]


def test_a_virtio_nic_as_recorded():
    nic = nic_of(RecordedWire(RECORDED["virtio_net"]), Link("eth0", 4), "virtio_net")
    assert nic.rings == Rings(256, 256, 256, 256)
    assert nic.channels == Channels(combined=1, combined_max=1)
    assert nic.coalesce == {
        "rx-usecs": 0, "rx-frames": 1, "tx-usecs": 0, "tx-frames": 1, "adaptive-rx": 0,
    }  # fmt: skip
    assert nic.features.active >= {"rx-gro", "rx-gro-hw", "tx-checksum-ip-generic"}
    assert "rx-gro" in nic.features.changeable
    assert "rx-gro-hw" not in nic.features.changeable  # ethtool -k: on [fixed]
    assert nic.timestamping.capabilities == {
        "software-transmit", "software-receive", "software-system-clock",
    }  # fmt: skip
    assert nic.timestamping.clock is None
    assert nic.xdp == XdpFeatures(
        frozenset({"basic", "redirect", "xsk-zerocopy", "rx-sg"}), zero_copy_max_segments=1
    )
    assert nic.vectors == (QueueVector(0, None),)
    assert nic.rss is None


def test_a_veth_as_recorded():
    nic = nic_of(RecordedWire(RECORDED["veth"]), Link("wp0", 10, kind="veth"), "veth")
    assert nic.channels == Channels(rx=2, tx=2, rx_max=2, tx_max=2)
    assert nic.receiving == 2
    assert nic.rings is nic.coalesce is nic.rss is None
    assert {nic.refused[each] for each in ("rings", "coalesce", "rss")} == {UNSUPPORTED}
    assert "tx-checksum-ip-generic" not in nic.features.active
    assert nic.xdp.rx_metadata == {"timestamp", "hash", "vlan-tag"}
    assert [vector.queue for vector in nic.vectors] == [0, 1]


def test_an_older_kernel_says_what_it_lacks():
    answers = {
        each: (errno.ENOENT if each.startswith("netdev") else told)
        for each, told in RECORDED["virtio_net"].items()
    }
    nic = nic_of(RecordedWire(answers), Link("eth0", 4))
    assert nic.xdp is None
    assert nic.refused["xdp"] == "this kernel has no netlink family netdev (Linux 6.3)"
    assert nic.rings is not None
    answers["ethtool 15"] = errno.EPERM
    assert "not permitted" in nic_of(RecordedWire(answers), Link("eth0", 4)).refused["rings"]


def encoded(kind, *attributes):
    message = kind()
    message["attrs"] = [list(each) for each in attributes]
    message.encode()
    return bytes(message.data)


def named(*names):
    bits = [
        ["ETHTOOL_A_BITSET_BITS_BIT", {"attrs": [["ETHTOOL_A_BITSET_BIT_NAME", name]]}]
        for name in names
    ]
    return {"attrs": [["ETHTOOL_A_BITSET_NOMASK", True],
                      ["ETHTOOL_A_BITSET_BITS", {"attrs": bits}]]}  # fmt: skip


def test_what_hardware_tells():
    """Answers that no interface of a test machine gives, made with the same messages."""
    answers = {
        **RECORDED["virtio_net"],
        "ethtool 11": [encoded(FeaturesMessage, ("HW", named("rx-lro", "rx-hashing", "loopback")),
                               ("ACTIVE", named("rx-lro")), ("NOCHANGE", named("loopback")))],
        "ethtool 17": [encoded(ChannelsMessage, ("RX_MAX", 0xFFFFFFFF), ("COMBINED_MAX", 64),
                               ("COMBINED_COUNT", 8))],
        "ethtool 19": [encoded(CoalesceMessage, ("rx-usecs", 50), ("adaptive-rx", 1))],
        "ethtool 25": [encoded(TsinfoMessage, ("TIMESTAMPING", named("hardware-receive")),
                               ("PHC_INDEX", 3))],
        "ethtool 38": [encoded(RssMessage, ("INDIR", struct.pack("=4I", 0, 1, 0, 1)))],
        "netdev 1": [encoded(NetdevMessage, ("XDP_FEATURES", 0b1101011),
                             ("XDP_RX_METADATA_FEATURES", 1), ("XSK_FEATURES", 2))],
        "netdev 10": [encoded(QueueMessage, ("ID", 1), ("TYPE", 0), ("NAPI_ID", 901)),
                      encoded(QueueMessage, ("ID", 0), ("TYPE", 0), ("NAPI_ID", 900)),
                      encoded(QueueMessage, ("ID", 0), ("TYPE", 1), ("NAPI_ID", 902))],
        "netdev 11": [encoded(NapiMessage, ("ID", 900), ("IRQ", 60)),
                      encoded(NapiMessage, ("ID", 901), ("IRQ", 61))],
    }  # fmt: skip
    nic = nic_of(RecordedWire(answers), Link("eno1", 2))
    assert nic.features.active == {"rx-lro"}
    assert nic.features.changeable == {"rx-lro", "rx-hashing"}
    assert nic.channels == Channels(combined=8, combined_max=64)
    assert nic.coalesce == {"rx-usecs": 50, "adaptive-rx": 1}
    assert nic.timestamping.clock == 3
    assert nic.rss.queues == {0, 1}
    assert nic.xdp.features == {"basic", "redirect", "xsk-zerocopy", "rx-sg", "ndo-xmit-sg"}
    assert (nic.xdp.rx_metadata, nic.xdp.xsk) == ({"timestamp"}, {"tx-checksum"})
    assert nic.vectors == (QueueVector(0, 60), QueueVector(1, 61))


def test_bits_without_a_name_are_kept():
    assert flags(0b1001, ("first", "second")) == {"first", "bit-3"}
    assert flags(None, ("first",)) == frozenset()


def test_loopback_for_real():
    links = KernelLinks()
    (lo,) = [link for link in links.links() if link.loopback]
    assert (lo.name, lo.index, lo.kind) == ("lo", 1, "")
    nic = links.nic(lo)
    assert nic.driver == nic.bus == ""
    assert nic.rings is None
    assert "software-receive" in nic.timestamping.capabilities
    assert {link.name for link in links.links()} >= links.default_routes()


def test_the_wire_says_what_the_kernel_said():
    from wirepath.machine._messages import ethtool_query

    with KernelWire() as wire:
        with pytest.raises(FileNotFoundError):
            wire.ask("nosuchfamily", ethtool_query("rings", 1))
        with pytest.raises(OSError, match="No such device"):
            wire.ask("ethtool", ethtool_query("rings", 1 << 30))
        assert len(wire.ask("ethtool", ethtool_query("features", 1))) == 1  # and is in step


def test_files_that_are_missing_forbidden_or_senseless(tmp_path):
    write(tmp_path, {"proc/a": "17", "proc/b": "0x1f rest", "proc/c": "many"})
    machine = Machine(tmp_path, FakeLinks([]))
    assert machine.number("proc/a") == 17
    assert machine.number("proc/b") == 31
    assert machine.number("proc/c") is None
    assert machine.text("proc/d") is None
    assert machine.text("proc/a/b") is None
    assert machine.names("proc") == ["a", "b", "c"]
    assert machine.names("sys") == []


def test_a_file_of_another_user_is_unseen(tmp_path):
    write(tmp_path, {"proc/secret": "1"})
    (tmp_path / "proc/secret").chmod(0o600)
    tmp_path.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from wirepath.machine import Files, Unseen\n"
        "root = os.open(sys.argv[1], os.O_PATH)\n"  # pytest's folders are closed to others
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "else: os.chmod('proc/secret', 0, dir_fd=root)\n"
        "try: print(Files(Path(f'/proc/self/fd/{root}')).text('proc/secret'))\n"
        "except Unseen as error: print('unseen:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "unseen: /proc/secret may not be read by this user"


def test_cores_nodes_and_parameters(tmp_path):
    machine = build(tmp_path)
    assert machine.version == (6, 12)
    assert (machine.cores, machine.isolated) == (list(range(8)), [4, 5, 6, 7])
    assert machine.nohz_full == machine.rcu_nocbs == [4, 5, 6, 7]
    assert machine.nodes == {0: [0, 1, 4, 5], 1: [2, 3, 6, 7]}
    assert machine.siblings(5) == [4, 5]
    assert machine.allowed_cores == list(range(8))
    assert machine.memlock is None
    assert machine.running("python3") == [4711]
    assert machine.command_line["nohz_full"] == "4-7"
    assert machine.config["CONFIG_XDP_SOCKETS"] == "y"
    assert "CONFIG_X" not in machine.config


@pytest.mark.parametrize(
    ("cmdline", "expected"),
    [
        ("rcu_nocbs=all", list(range(8))),
        ("rcu_nocbs=2,4-5", [2, 4, 5]),
        ("rcu_nocbs=6-N,1", [1, 6, 7]),
        ("rcu_nocbs=0-7:1/4", [0, 4]),
        ("rcu_nocbs=what,3", [3]),
        ("rcu_nocbs", []),
    ],
)
def test_rcu_nocbs(tmp_path, cmdline, expected):
    write(tmp_path, {"proc/cmdline": cmdline, "sys/devices/system/cpu/online": "0-7"})
    assert Machine(tmp_path, FakeLinks([])).rcu_nocbs == expected


def test_a_packed_configuration(tmp_path):
    write(tmp_path, {"proc/sys/kernel/osrelease": "6.6.1"})
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_HZ=1000\n"))
    assert Machine(tmp_path, FakeLinks([])).config == {"CONFIG_HZ": "1000"}


def test_interrupts_of_a_nic(tmp_path):
    machine = build(tmp_path)
    found = machine.interrupts(ENO1)
    assert [each.number for each in found] == [60, 61, 62, 63, 64]
    assert found[1].name == "ice-eno1-TxRx-1"
    assert (found[1].cores, found[1].count) == ((1,), 1000)
    assert found[4].count == 56
    assert machine.node(ENO1) == 0


def test_a_namesake_in_another_network_is_not_taken_for_the_interface(tmp_path):
    machine = build(tmp_path)
    other = replace(ENO1, link=replace(ENO1.link, index=7), bus="")
    assert machine.setting(ENO1, "napi_defer_hard_irqs") == "2"
    with pytest.raises(Unseen, match="another network namespace than that of eno1"):
        machine.setting(other, "napi_defer_hard_irqs")
    assert machine.device(other) is None
    assert machine.interrupts(other) == []


def test_the_device_is_found_by_its_bus_address(tmp_path):
    machine = build(tmp_path)
    elsewhere = replace(ENO1, link=replace(ENO1.link, index=7))
    assert machine.device(elsewhere) == "0000:3b:00.0"
    assert (tmp_path / PCI / "numa_node").exists()
    assert machine.node(elsewhere) == 0


def test_real_files():
    machine = Machine()
    assert machine.version >= (5, 0)
    assert sorted(os.sched_getaffinity(0)) == machine.allowed_cores
    assert machine.link("lo").loopback
    assert machine.link("nosuch0") is None
    assert machine.running("nosuchprogram") == []
    assert {name for _, name in socket.if_nameindex()} == {x.name for x in machine.links.links()}
