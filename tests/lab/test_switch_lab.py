# SPDX-License-Identifier: Apache-2.0
"""A switched port on real interfaces: transitions under load that lose nothing, fall-back when the
way around the kernel is broken for real, return, damping, and shares of flows."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from test_feed_lab import answer, wait_until_open
from test_lab_traffic import XDP_PASS, native_xdp

import wirepath as wp
from wirepath import _core, frames, switching
from wirepath.lab import Lab
from wirepath.switching import control

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not {b.name: b for b in wp.backends()}["af_xdp"].available,
        reason="the af_xdp backend is not available here: see `wirepath backends`",
    ),
]

GROUP, OTHER = ("239.255.97.1", 49201), ("239.255.97.2", 49202)
COMMAND = [sys.executable, "-m", "wirepath"]
TEXTS = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
QUICK = {"interval": 0.02, "silence": 0.3, "hold_down": 0.5, "successes": 5, "stable": 30.0}

_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_LINK_GET_NEXT_ID, _LINK_GET_FD_BY_ID, _GET_INFO, _LINK_DETACH = 31, 30, 15, 34
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 64)
    done = _libc.syscall(_SYS_BPF[platform.machine()], command, ctypes.byref(buffer), 64)
    return (done, buffer.raw) if done >= 0 else (-1, b"")


def detach_program(program):
    """What an administrator does with `bpftool link detach`: takes the program off its hook."""
    number = 0
    while True:
        done, answer_ = _bpf(_LINK_GET_NEXT_ID, struct.pack("=I", number))
        if done < 0:
            raise AssertionError(f"program {program} hangs on no link")
        (number,) = struct.unpack_from("=I", answer_, 4)
        fd, _ = _bpf(_LINK_GET_FD_BY_ID, struct.pack("=I", number))
        if fd < 0:
            continue
        try:
            info = ctypes.create_string_buffer(128)
            _bpf(_GET_INFO, struct.pack("=IIQ", fd, 128, ctypes.addressof(info)))
            if struct.unpack_from("=III", info.raw)[2] == program:
                assert _bpf(_LINK_DETACH, struct.pack("=I", fd))[0] == 0
                return
        finally:
            os.close(fd)


@contextlib.contextmanager
def switched(host, tuned=QUICK, steer=None, **options):
    """An auto port on `host`, with a worker that counts frames; (port, worker)."""
    with host.enter():
        port = wp.open(f"auto:{host.interface.name}", steer=steer or wp.udp(*GROUP), **options)
        if tuned:
            port.switch.configure(**tuned)
    worker = wp.Worker("switched")
    worker.add_port(port)
    with port, worker:
        yield port, worker


def change(host, port, **changes):
    with host.enter():
        port.switch.configure(**changes)


class Traffic:
    """Datagrams from `host` at a steady rate, sent in the background by another process."""

    def __init__(self, host, rate=2000):
        code = (
            "import socket,sys,time\n"
            f"s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
            "s.setsockopt(socket.IPPROTO_IP,socket.IP_MULTICAST_IF,"
            f"socket.inet_aton('{host.interface.ipv4}'))\n"
            "import signal\nstop=[]\nsignal.signal(signal.SIGTERM,lambda *a: stop.append(1))\n"
            "n=0\ndue=time.monotonic()\n"
            "print('on',flush=True)\n"
            "while not stop and n < 600000:\n"
            f"    s.sendto(n.to_bytes(4,'big'),{GROUP!r}); n+=1; due+=1/{rate}\n"
            "    time.sleep(max(0,due-time.monotonic()))\n"
            "print(n,flush=True)\n"
        )
        self.process = host.popen([sys.executable, "-c", code], **TEXTS)
        assert self.process.stdout.readline() == "on\n"
        self.sent = None

    def stop(self):
        if self.sent is None:
            self.process.send_signal(signal.SIGTERM)
            self.sent = int(self.process.communicate(timeout=20)[0])
        return self.sent

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def until(condition, what, timeout=60.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what}: it did not come about"
        time.sleep(0.01)


def kinds(port):
    return [event.kind for event in port.switch.events()]


def lost(stats):
    return {
        name: n
        for name, n in stats.items()
        if name.startswith("drop.") and not name.startswith("drop.tx_") and n
    }


def accounted(port, sent):
    """Every frame sent was delivered by one path, or is in a counter of drops."""
    stats = port.stats()
    delivered = port.switch.info()["delivered"]
    assert sum(delivered.values()) == stats["rx_packets"]
    assert sent == stats["rx_packets"] + sum(lost(stats).values()), (delivered, stats)
    return delivered


def arrived(port):
    """Frames delivered, or in a counter: opening an XDP program may cost some."""
    stats = port.stats()
    return stats["rx_packets"] + sum(lost(stats).values())


# --- transitions under load ---------------------------------------------------------------------
LINES = ("239.255.97.11:49211", "239.255.97.12:49211")
MESSAGES = 240_000  # of 20 seconds, so that a slow machine gets through all transitions
TRANSITIONS = 20


@pytest.mark.parametrize("standby", [True, False], ids=["kept open", "opened each time"])
def test_twenty_transitions_while_a_feed_runs_lose_nothing(lab_name, tmp_path, standby):
    """Kernel and AF_XDP path in turns, on both lines at once: no line makes up for the other."""
    file = tmp_path / "switch.toml"
    file.write_text(f"[switch]\nstandby = {str(standby).lower()}\ninterval = 0.02\n")
    out = tmp_path / "records.npy"
    with Lab(lab_name) as lab:
        name = lab["b"].interface.name
        feed = lab["b"].popen(
            [
                *(*COMMAND, "feed", f"auto:{name},config={file}", *LINES, "--json"),
                *("--out", str(out), "--max-seconds", "150", "--next-sequence", "1"),
                *("--rx-ring-size", "8192"),
            ],
            **TEXTS,
        )
        sender = None
        try:
            wait_until_open(feed)
            until(lambda: feed.pid in control.processes(), "a switch to talk to")
            lines = [f"--line={to}" for to in LINES]
            sender = lab["a"].popen(
                [
                    *(*COMMAND, "publish", "--messages", str(MESSAGES), "--rate", "12000", *lines),
                    *("--max-messages", "3", "--via", f"socket:{lab['a'].interface.name}"),
                    "--json",
                ],
                **TEXTS,
            )
            until(lambda: frames_of(feed.pid) > 1000, "the feed's first frames")
            moved = 0
            for k in range(TRANSITIONS):
                share = 0 if k % 2 == 0 else 100
                before = frames_of(feed.pid)
                control.ask(feed.pid, changes={"share": float(share)})
                until(lambda share=share: in_force(feed.pid) == share, f"a share of {share}")
                until(lambda before=before: frames_of(feed.pid) > before + 300, "frames by it")
                moved += 1
            assert sender.poll() is None, "it was over before the last transition"
            published = answer(sender)
            summary = answer(feed)
        finally:
            for process in (feed, sender):
                if process is not None:
                    process.kill()
                    process.communicate()
    assert moved == TRANSITIONS
    records = np.load(out)
    assert np.array_equal(records["seq"], np.arange(1, MESSAGES + 1, dtype=np.uint64))
    assert summary["missing"] == 0
    switch = summary["ports"][0]["switch"]
    delivered, stats = switch["delivered"], summary["port_stats"]
    assert stats["switch.transitions"] == TRANSITIONS + 1
    assert min(delivered.values()) > 3000, delivered
    # The account: what was sent is what both paths delivered, and that is what the lines counted.
    drops = sum(lost(stats).values())
    assert published["packets"] == sum(delivered.values()) + drops
    assert sum(delivered.values()) == stats["rx_packets"] == summary["packets"]
    (channel,) = summary["channels"]
    for line, sent in zip(channel["lines"], published["lines"], strict=True):
        assert line["packets"] + line["ignored"] == sent["packets"]
        assert line["missing"] == 0
    if standby:
        assert drops == 0


def frames_of(pid):
    (info,) = control.ask(pid).values()
    return sum(info["delivered"].values())


def in_force(pid):
    (info,) = control.ask(pid).values()
    return info["share"] if not info["leaving"] else None


# --- broken for real ----------------------------------------------------------------------------
def test_fall_back_when_another_program_takes_the_hook_and_return_when_it_is_gone(lab_name):
    with Lab(lab_name) as lab, switched(lab["b"], af_xdp_busy_retry_ms=0) as (port, _):
        until(lambda: port.switch.info()["path"] == "af_xdp/native", "the better path")
        with Traffic(lab["a"]) as traffic:
            until(lambda: port.stats()["rx_packets"] > 500, "frames by it")
            kinds(port)
            detach_program(port.switch.port_info()["program_id"])
            with native_xdp(lab["b"], XDP_PASS):
                until(lambda: port.switch.info()["path"] is None, "the fall-back")
                event = next(e for e in port.switch.events() if e.kind == "fall_back")
                assert event.path == "af_xdp/native"
                assert "XDP program saw none" in event.reason or "kernel's way" in event.reason
                at = port.stats()["rx_packets"]
                until(lambda: port.stats()["rx_packets"] > at + 500, "frames by the kernel")
                until(lambda: "refused" in kinds(port), "a try that is refused")
                refused = port.switch.info()["refused"]["af_xdp/native"]
                assert "already has XDP program" in refused
            until(lambda: port.switch.info()["path"] == "af_xdp/native", "the return")
            at = port.switch.info()["delivered"]["af_xdp/native"]
            until(
                lambda: port.switch.info()["delivered"]["af_xdp/native"] > at + 500,
                "frames by the better path again",
            )
            sent = traffic.stop()
            until(lambda: arrived(port) >= sent, "the last frame", 15)
        accounted(port, sent)
        assert lost(port.stats()) == {}
        stats = port.stats()
        assert (stats["switch.fall_backs"], stats["switch.returns"]) == (1, 1)
        assert stats["switch.refusals"] >= 1
        assert _core.telemetry_read("")[0][f"switch/{port.spec}/fall_backs"] == 1


def test_a_path_that_breaks_again_and_again_is_left_alone_longer_each_time(lab_name):
    quick = QUICK | {"hold_down": 0.4, "max_hold_down": 1.6, "successes": 2}
    with Lab(lab_name) as lab, switched(lab["b"], quick) as (port, _):
        waits = []
        with Traffic(lab["a"], 1000) as traffic:
            for _ in range(4):
                until(lambda: port.switch.info()["path"] is not None, "the better path")
                with lab["b"].enter():
                    detach_program(port.switch.port_info()["program_id"])
                until(lambda: port.switch.info()["path"] is None, "the fall-back")
                ways = port.switch.info()["ways"]["af_xdp/native"]
                waits.append(ways["failures"])
                fell = time.monotonic()
                until(lambda: port.switch.info()["path"] is not None, "the return")
                waits[-1] = (waits[-1], time.monotonic() - fell)
            sent = traffic.stop()
            until(lambda: arrived(port) >= sent, "the last frame", 15)
        assert [failures for failures, _ in waits] == [1, 2, 3, 4]
        for (_, waited), least in zip(waits, (0.4, 0.8, 1.6, 1.6), strict=True):
            assert waited > least - 0.1
        accounted(port, sent)
        assert port.stats()["switch.returns"] == 4


def test_a_link_that_goes_down_and_up_is_no_reason_to_leave(lab_name):
    from pyroute2 import IPRoute

    with Lab(lab_name) as lab, switched(lab["b"]) as (port, _):
        with lab["b"].enter(), IPRoute() as link:
            index = link.link_lookup(ifname=lab["b"].interface.name)[0]
            link.link("set", index=index, state="down")
            time.sleep(0.6)
            link.link("set", index=index, state="up")
        with Traffic(lab["a"]):
            at = port.stats()["rx_packets"]
            until(lambda: port.stats()["rx_packets"] > at + 300, "frames again")
        assert port.stats()["switch.fall_backs"] == 0


def test_an_interface_that_is_removed_ends_the_port(lab_name):
    with Lab(lab_name) as lab, switched(lab["b"]) as (_, worker):
        with lab["b"].enter():
            subprocess.run(["ip", "link", "del", lab["b"].interface.name], check=True)
        until(lambda: not worker.running, "the worker's end")


# --- shares -------------------------------------------------------------------------------------
def many_flows(count=300):
    """A frame of each of many flows, over both families and with a tag here and there."""
    for n in range(count):
        six = n % 3 == 2
        dst = ("ff15::97", 49203) if six else GROUP
        src = (f"fd57:6972:6570::{n + 16:x}" if six else f"10.77.0.{n % 200 + 20}", 20_000 + n)
        yield frames.udp(n.to_bytes(4, "big") + bytes(20), dst=dst, src=src)


@pytest.mark.parametrize("share", [0, 30, 100])
def test_a_share_of_the_flows_by_their_hash(lab_name, share):
    flows = list(many_flows())
    limit = round(share * 65536 / 100)
    ours = sum((_core.flow_hash(frame) & 0xFFFF) < limit for frame in flows)
    assert abs(ours - len(flows) * share / 100) < len(flows) / 10
    steer = wp.udp(*GROUP) | wp.udp("ff15::97", 49203)
    with Lab(lab_name) as lab, switched(lab["b"], {"share": share}, steer) as (port, _):
        with lab["a"].enter():
            out = wp.open(f"af_xdp:{lab['a'].interface.name}", steer=steer, tx_only=True)
        with out:
            for _ in range(5):
                assert out.send(flows) == len(flows)
                time.sleep(0.05)
            sent = 5 * len(flows)
            until(lambda: arrived(port) >= sent, "the last frame")
        delivered = accounted(port, sent)
        assert delivered == {"socket": 5 * (len(flows) - ours), "af_xdp/native": 5 * ours}
        assert port.stats()["steer.left_to_host"] == 5 * (len(flows) - ours)
        assert port.info()["switch"]["share"] == pytest.approx(share, abs=0.01)


def test_flows_that_are_named_leave_the_kernel_and_others_do_not(lab_name):
    steer = wp.udp(*GROUP) | wp.udp(*OTHER)
    named = {"share": 0, "flows": [f"{OTHER[0]}:{OTHER[1]}"]}
    with Lab(lab_name) as lab, switched(lab["b"], named, steer) as (port, _):
        with lab["a"].enter():
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            out.setsockopt(
                socket.IPPROTO_IP,
                socket.IP_MULTICAST_IF,
                socket.inet_aton(lab["a"].interface.ipv4),
            )
        with out:
            for _ in range(50):
                out.sendto(b"kernel", GROUP)
                out.sendto(b"around", OTHER)
            until(lambda: port.stats()["rx_packets"] == 100, "all frames")
            assert port.switch.info()["delivered"] == {"socket": 50, "af_xdp/native": 50}
            change(lab["b"], port, flows=[])
            for _ in range(50):
                out.sendto(b"kernel", OTHER)
            until(lambda: port.stats()["rx_packets"] == 150, "all frames")
            assert port.switch.info()["delivered"] == {"socket": 100, "af_xdp/native": 50}


# --- opening ------------------------------------------------------------------------------------
def test_it_says_what_was_taken_and_why_not_better(lab_name):
    with Lab(lab_name) as lab:
        with native_xdp(lab["b"], XDP_PASS), lab["b"].enter():
            options = {"policy": "af_xdp/native,socket", "af_xdp_busy_retry_ms": 0}
            spec = f"auto:{lab['b'].interface.name}"
            with wp.open(spec, steer=wp.udp(*GROUP), **options) as port:
                info = port.info()
                assert info["backend"] == "socket"
                assert info["switch"]["path"] is None
                assert "already has XDP program" in info["switch"]["refused"]["af_xdp/native"]
        with lab["b"].enter(), wp.open(spec, steer=wp.everything()) as port:
            info = port.info()
            assert info["backend"] == "af_xdp"
            assert "everything" in info["switch"]["refused"]["socket"]
            with pytest.raises(wp.ConfigError, match="share"):
                port.switch.configure(share=50)
        assert switching.ports() == []
        assert os.getpid() not in control.processes()


def test_the_file_is_watched_and_a_bad_one_changes_nothing(lab_name, tmp_path):
    file = tmp_path / "switch.toml"
    file.write_text("[switch]\nshare = 0\ninterval = 0.02\n")
    with Lab(lab_name) as lab, switched(lab["b"], {}, config=str(file)) as (port, _):
        assert port.switch.info()["share"] == 0
        file.write_text("[switch]\nshare = 25\ninterval = 0.02\n")
        until(lambda: port.switch.info()["share"] == 25, "the new share")
        kinds(port)
        file.write_text("[switch]\nshare = 250\n")
        until(lambda: "config_error" in kinds(port), "the complaint")
        assert port.switch.info()["share"] == 25
        assert port.stats()["switch.troubles"] == 1


def test_wirepath_switch_shows_and_changes_a_running_process(lab_name, wirepath):
    with Lab(lab_name) as lab, switched(lab["b"]) as (port, _):
        shown = wirepath("switch", os.getpid(), "30%", "--json").json
        assert shown[str(os.getpid())][port.spec]["share"] == pytest.approx(30, abs=0.01)
        assert wirepath("switch", os.getpid(), "socket").code == 0
        assert port.switch.info()["share"] == 0
        assert wirepath("switch", os.getpid(), "af_xdp").code == 0
        assert port.switch.info()["share"] == 100
        bad = wirepath("switch", os.getpid(), "dpdk")
        assert bad.code == 2
        assert "af_xdp/native, socket" in bad.err
        assert oct(control.path_of(os.getpid()).stat().st_mode & 0o777) == "0o600"
        top = wirepath("top", os.getpid(), "--count", "1", "--interval", "0.2").out
        assert "fall backs" in top
        assert port.spec in top
