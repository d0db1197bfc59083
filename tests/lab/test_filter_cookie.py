"""SYN cookies in the driver: what is answered, let through and dropped, and that the host takes
the connections while a flood of SYNs runs."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
import time
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from wirepath.errors import ConfigError
from wirepath.filter import Filter, FilterConfig, Rule, compile_filter
from wirepath.filter.engine import Engine
from wirepath.lab import Lab
from wirepath.programs import Chain, kernel

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}"),
    pytest.mark.skipif(
        not Path("/proc/sys/net/ipv4/tcp_syncookies").exists(),
        reason="unsupported: this kernel has no SYN cookies",
    ),
]
PORT = 8080


def protecting(*addresses):
    """Rules for a listener on these addresses."""
    where = {"destination": ",".join(addresses), "destination_port": str(PORT)}
    return (Rule(name="web", action="syncookie", **where),)


RULES = protecting("10.0.0.9", "2001:db8::9")
ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def set_cookies(host, value):
    with host.enter():
        Path("/proc/sys/net/ipv4/tcp_syncookies").write_text(f"{value}\n")


@contextlib.contextmanager
def listening(host, family=socket.AF_INET6):
    with host.enter():
        server = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", PORT))
        server.listen(128)
    with server:
        yield server


@pytest.fixture
def host(lab_name):
    """A host whose listeners take cookies only; single packets are judged in its namespace."""
    with Lab(lab_name) as lab:
        set_cookies(lab["b"], 2)
        yield lab["b"]


def ends(family, tags=()):
    out = ETHERNET
    for tag in tags:
        out /= Dot1Q(vlan=tag)
    if family == 4:
        return out / IP(src="198.51.100.7", dst="10.0.0.9", ttl=55)
    return out / IPv6(src="2001:db8::7", dst="2001:db8::9", hlim=55)


def judged(engine, packet):
    """Verdict, and the frame afterwards."""
    outcome = engine.program.run(bytes(packet))
    return outcome.verdict, outcome.frame


OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]


@pytest.mark.parametrize("options", [[], [("MSS", 536)], OPTIONS])
@pytest.mark.parametrize("tags", [(), (5,), (5, 6, 7, 8)])
@pytest.mark.parametrize("family", [4, 6])
def test_a_syn_is_answered_with_a_cookie_that_lets_its_ack_through(host, family, tags, options):
    with host.enter(), listening(host):
        engine = Engine.kernel(compile_filter(FilterConfig(rules=RULES)))
        syn = ends(family, tags) / TCP(sport=1234, dport=PORT, seq=77, flags="S", options=options)
        verdict, frame = judged(engine, syn)
        assert verdict == "tx"
        answer = Ether(frame)
        ip, tcp = answer[IP if family == 4 else IPv6], answer[TCP]
        assert (answer.src, answer.dst) == ("02:00:00:00:00:02", "02:00:00:00:00:01")
        sent = syn[IP if family == 4 else IPv6]
        assert (ip.src, ip.dst) == (sent.dst, sent.src)
        assert (tcp.sport, tcp.dport, str(tcp.flags), tcp.ack) == (PORT, 1234, "SA", 78)
        # Of the loopback interface, over which BPF_PROG_RUN lets the packet in.
        assert dict(tcp.options)["MSS"] == 65535 - (40 if family == 4 else 60)
        layer = answer
        for tag in tags:
            layer = layer[Dot1Q] if layer is answer else layer.payload
            assert layer.vlan == tag
        # Lengths and checksums are those that scapy works out itself.
        again = answer.copy()
        for each in (again[IP if family == 4 else IPv6], again[TCP]):
            for name in ("chksum", "len", "plen"):
                with contextlib.suppress(AttributeError):
                    delattr(each, name)
        assert bytes(again) == frame

        right = ends(family, tags) / TCP(sport=1234, dport=PORT, seq=78, ack=tcp.seq + 1, flags="A")
        wrong = right.copy()
        wrong[TCP].ack += 1000  # the lowest bits of a cookie are the number of an MSS
        assert judged(engine, wrong)[0] == "drop"
        assert judged(engine, right)[0] == "pass"
        counters = engine.counters()
        assert counters["cookies_sent"] == counters["cookies_right"] == 1
        assert counters["drop.cookie"] == 1
        assert engine.counts()["web"]["packets"] == 3
        assert engine.counts()["web"]["dropped_packets"] == 1


@pytest.mark.parametrize("family", [4, 6])
def test_what_comes_right_behind_a_cookie_passes_before_there_is_a_connection(host, family):
    """As in one batch of a queue: the host takes none of it before all of it was judged."""
    with host.enter(), listening(host):
        engine = Engine.kernel(compile_filter(FilterConfig(rules=RULES)))
        proven = engine.program.maps["proven"]

        def segment(flags, seq=78, ack=0, sport=1234):
            return ends(family) / TCP(sport=sport, dport=PORT, seq=seq, ack=ack, flags=flags)

        _, frame = judged(engine, segment("S", seq=77))
        cookie = Ether(frame)[TCP].seq
        second = segment("PA", seq=78 + 1460, ack=cookie + 1)
        assert judged(engine, second)[0] == "drop"  # nothing is known of its sender
        assert len(proven) == 0
        before = time.monotonic_ns()
        assert judged(engine, segment("A", ack=cookie + 1))[0] == "pass"
        [(ends_of, until)] = proven.items()
        assert before < until - 10**9 < time.monotonic_ns()
        proven[ends_of] = 2**63  # however slow this machine is
        for flags in ("A", "PA", "FA", "R"):
            packet = segment(flags, seq=78 + 1460, ack=cookie + 1)
            assert judged(engine, packet) == ("pass", bytes(packet)), flags
        assert judged(engine, segment("PA", seq=1538, ack=cookie + 1, sport=1235))[0] == "drop"
        proven[ends_of] = before  # its time is over
        assert judged(engine, second)[0] == "drop"
        assert engine.counters()["cookies_right"] == 1
        assert engine.counters()["drop.cookie"] == 3


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_for_no_listener_is_left_to_the_host(host, family):
    with host.enter():
        engine = Engine.kernel(compile_filter(FilterConfig(rules=RULES)))
        for flags in ("S", "A", "R", "SA", "FA", ""):
            packet = ends(family) / TCP(sport=1234, dport=PORT, flags=flags)
            assert judged(engine, packet) == ("pass", bytes(packet)), flags
        with listening(host):
            other = ends(family) / TCP(sport=1234, dport=PORT + 1, flags="S")
            datagram = ends(family) / UDP(sport=1234, dport=PORT)
            for packet in (other, datagram):
                assert judged(engine, packet) == ("pass", bytes(packet))
            set_cookies(host, 1)  # and its queue is empty: the host takes the SYN itself
            syn = ends(family) / TCP(sport=1234, dport=PORT, flags="S")
            assert judged(engine, syn) == ("pass", bytes(syn))
            assert engine.counters()["cookies_declined"] == 1


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_for_other_hosts_passes_beside_a_listener_on_every_address(host, family):
    """A host that forwards: its own listener would be found for their addresses as well."""
    with host.enter(), listening(host):
        engine = Engine.kernel(compile_filter(FilterConfig(rules=RULES)))
        for flags in ("S", "A", "R", "SA", "FA"):
            packet = ends(family) / TCP(sport=1234, dport=PORT, flags=flags)
            packet[IP if family == 4 else IPv6].dst = "10.0.0.10" if family == 4 else "2001:db8::a"
            assert judged(engine, packet) == ("pass", bytes(packet)), flags
        assert engine.counts()["web"]["packets"] == 0
        syn = ends(family) / TCP(sport=1234, dport=PORT, flags="S")
        assert judged(engine, syn)[0] == "tx"  # the listener is there


@pytest.mark.parametrize("flags", ["A", "R", "SA", "FA", "SF", "SR", "", "FPU", "PA"])
@pytest.mark.parametrize("family", [4, 6])
def test_what_no_connection_sends_to_a_listener_is_dropped(host, family, flags):
    with host.enter(), listening(host):
        engine = Engine.kernel(compile_filter(FilterConfig(rules=RULES)))
        judged(engine, ends(family) / TCP(sport=9, dport=PORT, flags="S"))  # cookies are out
        packet = ends(family) / TCP(sport=1234, dport=PORT, flags=flags, ack=99)
        assert judged(engine, packet) == ("drop", bytes(packet))
        assert engine.counters()["drop.cookie"] == 1
        dry = Engine.kernel(compile_filter(FilterConfig(rules=RULES, dry_run=True)))
        assert judged(dry, packet) == ("pass", bytes(packet))
        assert dry.counters()["would_drop"] == 1
        syn = ends(family) / TCP(sport=1234, dport=PORT, flags="S")
        assert judged(dry, syn) == ("pass", bytes(syn))


def test_an_ipv4_only_listener_and_options_of_ip(host):
    with host.enter(), listening(host, socket.AF_INET):
        engine = Engine.kernel(compile_filter(FilterConfig(rules=RULES)))
        syn = ends(4) / TCP(sport=1234, dport=PORT, flags="S")
        syn[IP].options = b"\x07\x07\x04\x00\x00\x00\x00\x00"  # record route
        verdict, frame = judged(engine, syn)
        assert verdict == "tx"
        assert Ether(frame)[IP].ihl == 5
        assert len(frame) == 14 + 20 + 24
        piece = ends(4) / TCP(sport=1234, dport=PORT, flags="S")
        piece[IP].flags = "MF"
        assert judged(engine, piece)[0] == "drop"


def test_where_it_cannot_be_it_is_refused(host):
    with pytest.raises(ConfigError, match=r"action syncookie is for the driver \(XDP\) only"):
        Filter(FilterConfig(rules=RULES)).stage()
    set_cookies(host, 0)
    with host.enter(), pytest.raises(ConfigError, match=r"sysctl -w net.ipv4.tcp_syncookies=1"):
        Filter(FilterConfig(rules=RULES)).attach(host.interface.name)


# --- a flood -------------------------------------------------------------------------------------


def netstat(host, name):
    """A counter of the host's TCP."""
    with host.enter():
        lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True))[name])


def echo(server, stop):
    while not stop.is_set():
        if not select.select([server], [], [], 0.1)[0]:
            continue
        with contextlib.suppress(OSError):
            client, _ = server.accept()
            with client:
                client.settimeout(20)
                while data := client.recv(65536):
                    client.sendall(data)


def forged(a, b):
    """SYNs, and acknowledgements of nothing, from anywhere in 198.18.0.0/15."""
    rng = random.Random(1)
    ethernet = Ether(src=a.interface.mac, dst=b.interface.mac)
    out = []
    for i in range(512):
        source = f"198.{18 + i % 2}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
        numbers = {"seq": rng.getrandbits(32), "ack": rng.getrandbits(32)}
        tcp = TCP(sport=rng.randrange(1024, 65536), dport=PORT, flags="SA"[i % 4 == 0], **numbers)
        out.append(bytes(ethernet / IP(src=source, dst=b.interface.ipv4) / tcp))
    return out


def flooding(raw, frames, stop, sent):
    while not stop.is_set():
        for i, frame in enumerate(frames):
            if i % 64 == 0:  # fewer than a veth's ring holds: none of the client's is lost
                time.sleep(0.001)
            with contextlib.suppress(OSError):
                sent[0] += raw.send(frame) == len(frame)


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_connections_survive_a_flood_of_syns(lab_name, mode):
    """Real connections, their bytes whole, made by cookies of the driver's alone."""
    with Lab(lab_name) as lab:
        a, b = lab["a"], lab["b"]
        set_cookies(b, 2)
        stop, sent, frames = threading.Event(), [0], forged(a, b)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(listening(b, socket.AF_INET))
            with a.enter():  # a veth takes what its peer's driver sends where it has XDP itself
                stack.enter_context(Chain(a.interface.name))
                raw = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
                raw.bind((a.interface.name, 0))
            rules = protecting(b.interface.ipv4)
            one = stack.enter_context(Filter(FilterConfig(rules=rules)))
            with b.enter():
                assert one.attach(b.interface.name, mode) == mode
                threads = [
                    threading.Thread(target=echo, args=(server, stop)),
                    threading.Thread(target=flooding, args=(raw, frames, stop, sent)),
                ]
                for each in threads:
                    each.start()
                try:
                    done = 0
                    while sent[0] < 2000:
                        assert threads[1].is_alive()
                        time.sleep(0.01)
                    for i in range(30):
                        data = random.Random(i).randbytes(20_000)
                        with a.enter():
                            client = socket.socket()
                        with client:
                            client.settimeout(60)
                            client.connect((b.interface.ipv4, PORT))
                            client.sendall(data)
                            client.shutdown(socket.SHUT_WR)
                            got = b"".join(iter(lambda c=client: c.recv(65536), b""))
                        assert got == data
                        done += 1
                finally:
                    stop.set()
                    for each in threads:
                        each.join()
                counters = one.counters()
        assert done == 30
        assert sent[0] >= 2000
        assert counters["cookies_right"] >= 30
        assert counters["cookies_sent"] > 1000
        assert counters["drop.cookie"] > 100
        # The host itself saw no SYN, and took what the driver had promised.
        assert netstat(b, "SyncookiesSent") == 0
        assert netstat(b, "SyncookiesRecv") >= 30
