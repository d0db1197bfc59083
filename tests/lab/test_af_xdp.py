"""AF_XDP ports on a real veth pair: steering, modes, counters that add up, and their end."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames
from wirepath.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not {b.name: b for b in wp.backends()}["af_xdp"].available,
        reason="the af_xdp backend is not available here: see `wirepath backends`",
    ),
]

GROUP = ("239.255.88.1", 48001)


@pytest.fixture
def lab(lab_name):
    with Lab(lab_name) as made:
        yield made


@pytest.fixture
def two_queues(lab_name):
    with Lab(lab_name, queues=2) as made:
        yield made


def open_on(host, spec_options="", **keywords):
    with host.enter():
        return wp.open(f"af_xdp:{host.interface.name}{spec_options}", **keywords)


def sender(host):
    """An ordinary UDP socket on `host`, sending multicast out of its interface."""
    with host.enter():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host.interface.ipv4)
        )
        return sock


def collect(port, count, of="payload", timeout=10.0):
    """The first `count` numbers at the front of the payloads that arrive."""
    out = []
    end = time.monotonic() + timeout
    while len(out) < count and time.monotonic() < end:
        batch = port.poll(0.2)
        if batch is not None:
            with batch:
                out += batch.column(0, ">u4", of=of).tolist()
    return out


def xdp_program(host):
    """Id of the XDP program on the host's interface, 0 = none."""
    from pyroute2 import IPRoute

    with host.enter(), IPRoute() as link:
        xdp = link.link("get", index=link.link_lookup(ifname=host.interface.name)[0])[0].get_attr(
            "IFLA_XDP"
        )
        return (xdp and xdp.get_attr("IFLA_XDP_PROG_ID")) or 0


def drops(stats):
    return sum(v for k, v in stats.items() if k.startswith("drop.") and ".tx" not in k)


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_multicast_arrives_and_info_is_read_back(lab, mode):
    with sender(lab["a"]) as out, open_on(lab["b"], steer=wp.udp(*GROUP), mode=mode) as port:
        for n in range(100):
            out.sendto(n.to_bytes(4, "big"), GROUP)
        assert collect(port, 100) == list(range(100))
        info = port.info()
        assert info["mode"] == f"{mode}, copy"
        assert info["zero_copy"] is False
        assert info["driver"] == "veth"
        assert info["queue_list"] == [0]
        assert info["program_id"] == xdp_program(lab["b"]) != 0
        stats = port.stats()
        assert stats["steer.matched"] == stats["rx_packets"] == 100
        assert drops(stats) == 0
    assert xdp_program(lab["b"]) == 0


def test_only_what_is_steered_leaves_the_kernel(lab):
    with lab["b"].enter():
        host_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host_socket.bind((lab["b"].interface.ipv4, 48002))
        host_socket.settimeout(5)
    with (
        sender(lab["a"]) as out,
        open_on(lab["b"], steer=wp.udp(lab["b"].interface.ipv4, 48003)) as port,
        host_socket,
    ):
        out.sendto(b"kernel", (lab["b"].interface.ipv4, 48002))
        out.sendto(b"\0\0\0\7", (lab["b"].interface.ipv4, 48003))
        assert collect(port, 1) == [7]
        assert host_socket.recv(100) == b"kernel"
        assert port.stats()["steer.matched"] == 1
        # What an SSH session needs lives on.
        with lab["b"].enter():
            server = socket.create_server((lab["b"].interface.ipv4, 48004))
        with server, lab["a"].enter():
            client = socket.create_connection(server.getsockname(), timeout=10)
            with client, server.accept()[0] as accepted:
                client.sendall(b"ssh")
                assert accepted.recv(10) == b"ssh"


@pytest.mark.parametrize(
    ("steer", "matching", "other"),
    [
        (wp.udp("239.255.88.9", 48010), {}, {"dst": ("239.255.88.9", 48011)}),
        (
            wp.udp("239.255.88.9", 48010),
            {"vlan": 141},
            {"vlan": 141, "dst": ("239.255.88.8", 48010)},
        ),
        (wp.udp("*", 48010), {"dst": ("239.0.0.1", 48010)}, {"dst": ("239.255.88.9", 1)}),
        (wp.udp("239.255.88.9"), {"dst": ("239.255.88.9", 7)}, {"dst": ("239.255.88.10", 7)}),
        (
            wp.udp("ff15::88", 48010),
            {"dst": ("ff15::88", 48010)},
            {"dst": ("ff15::89", 48010)},
        ),
        (wp.everything(), {"dst": ("239.1.2.3", 9)}, None),
    ],
)
def test_steering_by_address_port_vlan_and_family(lab, steer, matching, other):
    def frame(number, changes):
        return frames.udp(number.to_bytes(4, "big"), **({"dst": ("239.255.88.9", 48010)} | changes))

    with (
        open_on(lab["a"], steer=wp.udp(*GROUP), tx_only=True) as out,
        open_on(lab["b"], steer=steer) as port,
    ):
        wanted = [frame(n, matching) for n in range(20)]
        unwanted = [] if other is None else [frame(1000 + n, other) for n in range(20)]
        mixed = [f for pair in zip(unwanted, wanted, strict=False) for f in pair]
        mixed = mixed or wanted
        assert out.send(mixed) == len(mixed)
        got = [n for n in collect(port, 20) if n < 1000]
        assert got == list(range(20))
        if other is not None:
            assert port.stats()["steer.matched"] == 20


def test_every_queue_is_bound_and_one_flow_stays_in_order(two_queues):
    lab = two_queues
    with sender(lab["a"]) as out, open_on(lab["b"], steer=wp.udp(*GROUP)) as port:
        assert port.queues == 2
        assert port.info()["queue_list"] == [0, 1]
        for n in range(200):
            out.sendto(n.to_bytes(4, "big"), GROUP)
        assert collect(port, 200) == list(range(200))
    with pytest.raises(wp.ConfigError, match=r"queues.*2|2.*queues"):
        open_on(lab["b"], ",queues=5", steer=wp.udp(*GROUP))


def test_transmit_own_and_foreign_frames(lab):
    """a sends copies; b turns them round without a copy; what comes back is what was sent."""
    a, b = lab["a"], lab["b"]
    there, back = ("239.255.88.20", 48020), ("239.255.88.21", 48021)
    with (
        open_on(a, steer=wp.udp(*back)) as left,
        open_on(b, steer=wp.udp(*there)) as right,
    ):
        sent = [frames.udp(n.to_bytes(4, "big") * 10, dst=there) for n in range(500)]
        reply = frames.udp(b"\0" * 40, dst=back)
        seen, turned = [], 0
        for start in range(0, 500, 50):
            assert left.send(sent[start : start + 50]) == 50
            end = time.monotonic() + 10
            while turned < start + 50 and time.monotonic() < end:
                batch = right.poll(0.2)
                if batch is None:
                    continue
                with batch:
                    for i in range(len(batch)):
                        batch[i][:42] = reply[:42]
                    batch.verdicts = wp.TX
                    turned += right.tx(batch)
            seen += collect(left, 50)
        assert seen == list(range(500))
        assert right.stats()["tx_packets"] == 500
        assert drops(left.stats()) == drops(right.stats()) == 0


def test_a_frame_that_was_sent_is_out_of_reach_and_an_array_of_it_keeps_its_bytes(lab):
    flow = ("239.255.88.22", 48022)
    with sender(lab["a"]) as out, open_on(lab["b"], steer=wp.udp(*flow)) as port:

        def burst(value):
            for _ in range(4):
                out.sendto(bytes([value]) * 64, flow)
            batch = port.poll(5)
            assert batch is not None and len(batch) > 1
            return batch

        batch = burst(1)
        array, view = np.frombuffer(batch[0], np.uint8), batch[1]
        before = array.copy()
        batch.verdicts = wp.TX
        assert port.tx(batch) == len(batch)
        with pytest.raises(ValueError, match="released"):
            bytes(view)
        assert batch.lengths[1] == 0
        batch.release()
        for n in range(3000):  # more than there are buffers
            burst(2 + n % 250).release()
        assert (array == before).all()
        assert port.held == 1
        del array
        assert port.held == 0


def test_overload_loses_frames_and_every_one_is_counted(lab):
    total = 30_000
    with (
        open_on(lab["a"], steer=wp.udp(*GROUP), tx_only=True) as out,
        open_on(lab["b"], ",rx_ring_size=64,frames=256", steer=wp.udp(*GROUP)) as port,
    ):
        burst = [frames.udp(n.to_bytes(4, "big"), dst=GROUP) for n in range(500)]
        sent = 0
        while sent < total:
            sent += out.send(burst)
        before = out.stats()["nic.tx_dropped"]
        received = 0
        while (batch := port.poll(1.0)) is not None:
            with batch:
                received += len(batch)
        stats = port.stats()
        assert received == stats["rx_packets"] < total
        assert stats["steer.matched"] == received + drops(stats)
        assert sent == stats["steer.matched"] + before
        assert stats["drop.rx_ring_full"] + stats["drop.fill_ring_empty"] > 0


def test_driver_timestamps_are_declared_and_lie_between_send_and_receive(lab):
    with sender(lab["a"]) as out, open_on(lab["b"], steer=wp.udp(*GROUP)) as port:
        assert "driver" in port.info()["timestamp_source"]
        before = time.time_ns()
        for n in range(50):
            out.sendto(n.to_bytes(4, "big"), GROUP)
        stamps = []
        while len(stamps) < 50:
            with port.poll(5) as batch:
                stamps += batch.timestamps.tolist()
        after = time.time_ns()
        assert stamps == sorted(stamps)
        assert before <= stamps[0]
        assert stamps[-1] <= after
    with open_on(lab["b"], steer=wp.udp(*GROUP), timestamps="poll") as port:
        assert port.info()["timestamp_source"] == "poll loop"


def test_the_multicast_group_is_joined_while_the_port_is_open(lab):
    def groups():
        text = lab["b"].run(["cat", "/proc/net/igmp"], capture_output=True, text=True).stdout
        return f"{int.from_bytes(socket.inet_aton(GROUP[0]), 'little'):08X}" in text

    with open_on(lab["b"], steer=wp.udp(*GROUP)):
        assert groups()
    assert not groups()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (",mode=fast", ["mode = fast", "native"]),
        (",zero_copy=maybe", ["zero_copy", "require"]),
        (",zero_copy=require", ["zero"]),
        (",zero_copy=require,mode=generic", ["zero_copy", "generic"]),
        (",rx_ring_size=1000", ["rx_ring_size = 1000", "power of two"]),
        (",frame_size=1024", ["frame_size = 1024", "2048"]),
        (",frames=5", ["frames = 5"]),
        (",queues=7", ["queue", "7"]),
        (",busy_poll=on", ["busy_poll"]),
        (",nosuch=1", ["nosuch", "rx_ring_size"]),
    ],
)
def test_wrong_options_say_what_and_leave_nothing(lab, options, parts):
    with pytest.raises(wp.WirepathError) as caught:
        open_on(lab["b"], options, steer=wp.udp(*GROUP))
    for part in parts:
        assert part in str(caught.value)
    assert xdp_program(lab["b"]) == 0


def test_mtu_too_large_for_the_frames(lab_name):
    with Lab(lab_name, mtu=3000) as lab:
        with pytest.raises(wp.WirepathError) as caught:
            open_on(lab["b"], steer=wp.udp(*GROUP))
        assert "mtu" in str(caught.value).lower()
        assert "frame_size=4096" in str(caught.value)
        with open_on(lab["b"], steer=wp.udp(*GROUP), frame_size=4096) as port:
            assert port.info()["frame_size"] == 4096


def test_a_port_that_is_open_already_is_busy(lab):
    with open_on(lab["b"], steer=wp.udp(*GROUP)):
        with pytest.raises(wp.DeviceBusy) as caught:
            open_on(lab["b"], steer=wp.udp(*GROUP), busy_retry_ms=100)
        assert lab["b"].interface.name in str(caught.value)
    with open_on(lab["b"], steer=wp.udp(*GROUP)) as again:
        assert again.poll(0) is None


def test_a_foreign_program_is_named_and_left_alone(lab):
    from test_lab_traffic import XDP_PASS, native_xdp

    with native_xdp(lab["b"], XDP_PASS) as foreign:
        with pytest.raises(wp.DeviceBusy) as caught:
            open_on(lab["b"], steer=wp.udp(*GROUP), busy_retry_ms=100)
        assert str(foreign) in str(caught.value)
        assert xdp_program(lab["b"]) == foreign


def test_an_interface_that_does_not_exist():
    with pytest.raises(wp.WirepathError, match="nosuch0"):
        wp.open("af_xdp:nosuch0", steer=wp.udp(*GROUP))


def test_an_interface_that_is_removed_ends_the_loop(lab):
    with open_on(lab["b"], steer=wp.udp(*GROUP)) as port:
        guard = threading.Timer(20, os.kill, (os.getpid(), signal.SIGINT))
        remove = threading.Timer(
            0.3, lab["b"].run, (["ip", "link", "delete", lab["b"].interface.name],)
        )
        guard.start()
        remove.start()
        try:
            assert list(port) == []
        finally:
            guard.cancel()
            remove.join()


def test_kill_9_leaves_no_program_and_the_next_open_works(lab):
    program = textwrap.dedent(
        f"""
        import wirepath as wp
        steer = wp.udp("{GROUP[0]}", {GROUP[1]})
        with wp.open("af_xdp:{lab["b"].interface.name}", steer=steer) as port:
            print("open", flush=True)
            for batch in port:
                print(len(batch), flush=True)
        """
    )

    def settings():
        return (
            lab["b"]
            .run(
                ["ip", "-details", "link", "show", lab["b"].interface.name],
                capture_output=True,
                text=True,
            )
            .stdout
        )

    untouched = settings()
    process = lab["b"].popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "open\n"
    with sender(lab["a"]) as out:
        out.sendto(b"\0\0\0\1", GROUP)
        assert int(process.stdout.readline()) == 1
        assert xdp_program(lab["b"]) != 0
        assert settings() != untouched
        process.send_signal(signal.SIGKILL)
        process.wait()
        end = time.monotonic() + 10
        while xdp_program(lab["b"]) and time.monotonic() < end:
            time.sleep(0.01)  # the kernel takes the last reference down on its own time
        assert xdp_program(lab["b"]) == 0
        assert settings() == untouched
        with open_on(lab["b"], steer=wp.udp(*GROUP)) as port:
            out.sendto(b"\0\0\0\2", GROUP)
            assert collect(port, 1) == [2]


def test_fileno_and_asyncio(lab):
    with sender(lab["a"]) as out, open_on(lab["b"], steer=wp.udp(*GROUP)) as port:
        assert select.select([port.fileno()], [], [], 0) == ([], [], [])
        out.sendto(b"\0\0\0\5", GROUP)
        assert select.select([port.fileno()], [], [], 5)[0]
        assert collect(port, 1) == [5]

        async def run():
            async def send():
                for n in range(10):
                    out.sendto(n.to_bytes(4, "big"), GROUP)
                    await asyncio.sleep(0.001)

            task = asyncio.create_task(send())
            seen = []
            async for batch in port:
                seen += batch.column(0, ">u4", of="payload").tolist()
                if len(seen) == 10:
                    break
            await task
            return seen

        assert asyncio.run(run()) == list(range(10))


def test_busy_poll_is_refused_or_read_back(lab):
    with (
        sender(lab["a"]) as out,
        open_on(lab["b"], steer=wp.udp(*GROUP), busy_poll="preferred") as port,
    ):
        assert "busy poll" in port.info()["wakeup"]
        out.sendto(b"\0\0\0\3", GROUP)
        assert collect(port, 1) == [3]


def test_without_privileges_the_missing_capability_is_named(lab):
    if os.geteuid() != 0:
        pytest.skip("needs root to become nobody")
    program = (
        "import wirepath as wp\n"
        "try:\n"
        f"    wp.open('af_xdp:{lab['b'].interface.name}', steer=wp.udp('239.1.1.1', 9))\n"
        "except wp.PermissionDenied as e:\n"
        "    print(e)\n"
    )
    done = lab["b"].run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program],
        capture_output=True,
        text=True,
    )
    assert "CAP_NET_ADMIN" in done.stdout, done.stderr
