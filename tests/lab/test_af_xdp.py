"""AF_XDP ports on a real veth pair: steering, modes, counters that add up, and their end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import wirepath as wp
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
        assert info["timestamp_source"] == "driver (XDP program, CLOCK_TAI)"
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
