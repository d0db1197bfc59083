# SPDX-License-Identifier: Apache-2.0
"""An `auto` port without a lab: null, sockets on loopback, its control socket and its command."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import time

import pytest

import wirepath as wp
from wirepath import _core, series
from wirepath.cli import switch
from wirepath.switching import control, ports


def until(condition, what, timeout=10.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what}: it did not come about"
        time.sleep(0.01)


@contextlib.contextmanager
def on_loopback(flow, **options):
    with wp.open("auto:lo", steer=wp.udp(*flow), **options) as port:
        yield port


@contextlib.contextmanager
def loopback_sender():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        yield out


def test_one_way_alone_is_that_way():
    with wp.open("auto:,policy=null,null_frames=1000", steer=wp.everything()) as port:
        assert port.info()["backend"] == "null"
        assert port.info()["switch"]["kernel"] is None
        assert sum(len(batch) for batch in port) == 1000
        stats = port.stats()
        assert stats["rx_packets"] == stats["switch.bypass_frames"] == 1000
        assert port.switch.info()["delivered"] == {"null": 1000}
        assert port.native.finished


def test_frames_held_beyond_their_batch_go_back_to_their_way(flow):
    with on_loopback(flow, policy="socket") as port, loopback_sender() as out:
        for n in range(10):
            out.sendto(n.to_bytes(4, "big"), flow)
        held = []
        while len(held) < 10:
            with port.poll(5) as batch:
                held += [batch.data[i] for i in range(len(batch))]
        assert port.held == 10
        assert [bytes(frame[42:46]) for frame in held] == [n.to_bytes(4, "big") for n in range(10)]
        del held, batch
        until(lambda: port.held == 0, "the frames' return")
        port.poll(0)
        assert port.stats()["held"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policy": "socket", "af_xdp_queues": "0"}, "af_xdp_queues"),
        ({"policy": "socket", "socket_rx_bufer_bytes": "1"}, "did you mean rx_buffer_bytes"),
        ({"policy": "socket", "shares": "10"}, "shares"),
        ({"policy": "nosuch"}, "nosuch"),
        ({"share": "half"}, "0 to 100"),
        ({"share": "-1"}, "0 to 100"),
        ({"config": "/nonexistent/switch.toml"}, "cannot be read"),
        ({"policy": "null", "share": "50"}, "must be 100"),
        ({"policy": "socket", "queues": "0"}, "queues"),
    ],
)
def test_what_is_not_usable_is_named(flow, options, words):
    with pytest.raises(wp.ConfigError, match=words):
        wp.open("auto:lo", steer=wp.udp(*flow), **options)
    assert ports() == []


def test_nothing_opens_and_every_reason_is_told():
    with pytest.raises(wp.Unsupported, match=r"socket: .*everything"):
        wp.open("auto:lo,policy=socket", steer=wp.everything())
    with pytest.raises(wp.ConfigError, match="steer"):
        wp.open("auto:lo,policy=null")


def test_a_way_that_takes_all_or_nothing(flow):
    """null beside a socket: it cannot leave a share to the kernel, so it is whole or closed."""
    options = {"policy": "null,socket", "null_frame_size": "100"}
    with on_loopback(flow, **options) as port, loopback_sender() as out:
        worker = wp.Worker("switched")
        worker.add_port(port)
        with worker:
            until(lambda: port.stats()["switch.bypass_frames"] > 0, "frames of null")
            out.sendto(b"x", flow)
            until(lambda: port.switch.info()["delivered"]["socket"] == 1, "the socket's, resting")
            port.switch.configure(share=50)
            until(lambda: port.switch.info()["leaving"] == {}, "its end")
            info = port.switch.info()
            assert info["path"] is None
            assert "share of the flows" in info["ways"]["null"]["reason"]
            before = info["delivered"]["null"]
            out.sendto(b"x", flow)
            until(lambda: port.switch.info()["delivered"]["socket"] == 2, "a frame by the kernel")
            assert port.switch.info()["delivered"]["null"] == before
            port.switch.configure(share=100)
            until(lambda: port.switch.info()["delivered"]["null"] > before, "frames of null again")
        stats = port.stats()
        assert stats["rx_packets"] == sum(port.switch.info()["delivered"].values())
        kinds = [event.kind for event in port.switch.events()]
        assert kinds == ["opened", "active", "config", "closed", "config", "opened", "active"]


def test_events_are_logged_and_a_callback_that_raises_does_no_harm(flow, caplog):
    caplog.set_level(logging.INFO, "wirepath.switch")
    with on_loopback(flow, policy="null,socket") as port:

        def fails(event):
            raise RuntimeError(event.kind)

        port.switch.on_event = fails
        port.switch.configure(share=0)
        assert port.switch.config.share == 0
    assert "auto:lo: active null" in caplog.text
    assert "on_event failed" in caplog.text


def test_counters_are_there_for_other_processes(flow, wirepath):
    with on_loopback(flow, policy="null,socket") as port:
        cells = {each.name: each for each in series.series(wp.counters()) if each.kind == "switch"}
        assert cells["share_basis_points"].value == 10_000
        assert cells["share_basis_points"].gauge
        assert cells["transitions"].label("switch") == port.spec == "auto:lo"
        shown = wirepath("metrics", os.getpid()).out
        assert "wirepath_switch_share_basis_points{" in shown


def test_the_control_socket_is_there_while_a_port_is_open(flow):
    path = control.path_of(os.getpid())
    assert not path.exists()
    with on_loopback(flow, policy="null,socket") as port:
        assert path.stat().st_mode & 0o777 == 0o600
        assert os.getpid() in control.processes()
        (spec, info), *_ = control.ask(os.getpid()).items()
        assert (spec, info["path"]) == (port.spec, "null")
        control.ask(os.getpid(), changes={"share": 0.0}, port=port.spec)
        assert port.switch.config.share == 0
        with pytest.raises(wp.ConfigError, match="0 to 100"):
            control.ask(os.getpid(), changes={"share": 400})
        with pytest.raises(wp.ConfigError, match="those open are: auto:lo"):
            control.ask(os.getpid(), port="auto:eth7")
        with pytest.raises(wp.ConfigError, match="config=FILE"):
            control.ask(os.getpid(), reload=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(str(path))
            peer.sendall(b"nonsense\n")
            assert "not a request" in json.loads(peer.recv(4096))["error"]
        assert port.switch.config.share == 0
    assert not path.exists()


def test_what_a_killed_process_left_is_removed(flow):
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = control.path_of(dead.pid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(left))
    with on_loopback(flow, policy="socket"):
        assert not left.exists()


def test_the_command_without_a_process_and_with_a_wrong_one(flow, wirepath):
    wrong = wirepath("switch", os.getpid())
    assert wrong.code == 1
    assert "does not answer about switches" in wrong.err
    with on_loopback(flow, policy="null,socket"):
        me = str(os.getpid())
        until(
            lambda: wirepath("switch", "--json").json[me]["auto:lo"]["path"] == "null",
            "the way around the kernel",
        )
        assert wirepath("switch", os.getpid(), "socket").code == 0
        # Everything by the kernel: named flows come back too.
        assert switch._changes("socket", os.getpid(), None) == {"share": 0.0, "flows": []}
        bad = wirepath("switch", os.getpid(), "af_xpd")
        assert bad.code == 2
        assert "null, socket" in bad.err


def test_a_feed_over_it_has_its_switch(flow):
    config = wp.IngestionConfig(
        backend="auto",
        interface_name="lo",
        host=flow[0],
        port=flow[1],
        options={"policy": "socket", "socket_rx_buffer_bytes": 1 << 20},
    )
    with wp.IngestionClient(config) as client:
        (switch,) = client.switches
        assert switch.spec == "auto:lo"
        assert client.backend_info["backend"] == "socket"
        assert client.backend_info["rx_buffer_asked"] == 1 << 20
    with pytest.raises(wp.ConfigError, match="interface_name"):
        wp.IngestionConfig(backend="auto", host=flow[0], port=flow[1])


def test_flow_hash_is_of_the_flow():
    from wirepath import frames

    one = frames.udp(b"a", dst=("239.1.1.1", 9001), src=("10.0.0.1", 4000))
    same = frames.udp(b"bcd", dst=("239.1.1.1", 9001), src=("10.0.0.1", 4000))
    other = frames.udp(b"a", dst=("239.1.1.1", 9001), src=("10.0.0.1", 4001))
    assert _core.flow_hash(one) == _core.flow_hash(same) != _core.flow_hash(other)
