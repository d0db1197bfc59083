"""Publishing: sources told apart, what goes out, reports, and generated files."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames
from wirepath.errors import StateError
from wirepath.feed import (
    EndOfSession,
    Heartbeat,
    Itch50,
    Message,
    MoldUDP64,
    generate,
)
from wirepath.measure import PublisherProcess, publish_arguments
from wirepath.publish import PublishConfig, Publisher, flow_of
from wirepath.telemetry import counters


def frames_of(data):
    """The messages of a length-prefixed file, read in the plainest way."""
    out, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        out.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return out


@pytest.fixture
def receiver(flow):
    """A plain socket that has joined the group on loopback."""
    group, port = flow
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((group, port))
        joined = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        sock.settimeout(0.3)
        yield sock


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def received(sock):
    out = []
    while True:
        try:
            out.append(sock.recv(65536))
        except TimeoutError:
            return out


def config(to, **more):
    fast = {"end_of_session_interval": 0.01, "via": "socket:lo"}
    return PublishConfig(host=to[0], port=to[1], **{**fast, **more})


def events_of(packets):
    session, out = MoldUDP64(), []
    for packet in packets:
        out += session.on_packet(packet)
    return out


def capture_of(tmp_path, payloads, *, dst=("239.1.2.3", 5000), gap=0, name="in.pcap"):
    """A nanosecond pcap of UDP frames, `gap` ns apart."""
    head = bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000")
    body = b""
    for i, payload in enumerate(payloads):
        frame = frames.udp(payload, dst=dst)
        when = 1_700_000_000_000_000_000 + i * gap
        stamp = divmod(when, 1_000_000_000)
        for number in (*stamp, len(frame), len(frame)):
            body += number.to_bytes(4, "little")
        body += frame
    path = tmp_path / name
    path.write_bytes(head + body)
    return path


def mold(seq, *messages, session=b"TESTSESSIO"):
    blocks = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    return session + seq.to_bytes(8, "big") + len(messages).to_bytes(2, "big") + blocks


# --- generated days ----------------------------------------------------------------------------
def test_the_same_seed_gives_the_same_file(tmp_path):
    one = generate(tmp_path / "a.itch", messages=5000, seed=3)
    generate(tmp_path / "b.itch", messages=5000, seed=3)
    generate(tmp_path / "c.itch", messages=5000, seed=4)
    data = (tmp_path / "a.itch").read_bytes()
    assert data == (tmp_path / "b.itch").read_bytes()
    assert data != (tmp_path / "c.itch").read_bytes()
    assert one.bytes == len(data)
    messages = frames_of(data)
    assert one.messages == len(messages) == 5000
    assert one.by_type == Counter(chr(m[0]) for m in messages)


def test_a_compressed_file_holds_the_same(tmp_path):
    generate(tmp_path / "a.itch", messages=3000)
    generate(tmp_path / "a.itch.gz", messages=3000)
    packed = (tmp_path / "a.itch.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.itch").read_bytes()


def test_progress_rises_to_the_number_of_messages(tmp_path):
    seen = []
    generate(tmp_path / "a.itch", messages=100_000, on_progress=seen.append)
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == 100_000


def test_what_is_deleted_was_added(tmp_path):
    generate(tmp_path / "a.itch", messages=50_000, symbols=20)
    live = set()
    for message in frames_of((tmp_path / "a.itch").read_bytes()):
        kind, reference = chr(message[0]), message[11:19]
        if kind in "AF":
            live.add(reference)
        elif kind in "ECXDU":
            assert reference in live
            if kind in "DU":
                live.discard(reference)
            if kind == "U":
                live.add(message[19:27])


@pytest.mark.parametrize(
    "values",
    [{"messages": -1}, {"messages": 10}, {"messages": 1.5}, {"seed": -1}, {"symbols": 0},
     {"symbols": 20_001}, {"messages": True}],
)  # fmt: skip
def test_a_day_that_cannot_be_generated(tmp_path, values):
    with pytest.raises(wp.ConfigError) as caught:
        generate(tmp_path / "a.itch", **values)
    assert next(iter(values)) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_written_stays(tmp_path):
    def stop(written):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "a.itch", messages=100_000, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_replaced_by_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(wp.ConfigError, match="not a regular file"):
        generate(pipe, messages=3000)
    assert list(tmp_path.iterdir()) == [pipe]
    assert pipe.is_fifo()


# --- on the wire -------------------------------------------------------------------------------
def test_a_file_goes_out_message_by_message_and_ends_its_session(tmp_path, flow, receiver):
    generate(tmp_path / "day.itch", messages=3000)
    report = Publisher(
        config(flow, source=str(tmp_path / "day.itch"), rate=100_000, first_sequence=7)
    ).run()
    packets = received(receiver)
    events = events_of(packets)
    messages = [e for e in events if isinstance(e, Message)]
    assert [m.data for m in messages] == frames_of((tmp_path / "day.itch").read_bytes())
    assert [m.seq for m in messages] == list(range(7, 3007))
    assert sum(isinstance(e, EndOfSession) for e in events) >= 1
    assert report["packets"] == len(packets)
    assert report["messages"] == 3000
    assert report["bytes"] == sum(map(len, packets))
    assert report["end_of_session"] == 3
    assert (report["first_sequence"], report["next_sequence"]) == (7, 3007)
    assert report["port_stats"]["tx_packets"] == len(packets)
    assert max(map(len, packets)) <= 1400
    assert {p[:10] for p in packets} == {b"WIREPATH  "}


def test_a_compressed_file_goes_out_too(tmp_path, flow, receiver):
    generate(tmp_path / "day.itch.gz", messages=2500)
    Publisher(config(flow, source=str(tmp_path / "day.itch.gz"), rate=200_000)).run()
    messages = [e for e in events_of(received(receiver)) if isinstance(e, Message)]
    packed = (tmp_path / "day.itch.gz").read_bytes()
    assert [m.data for m in messages] == frames_of(gzip.decompress(packed))


def test_the_rate_is_kept(flow, receiver):
    begin = time.monotonic()
    report = Publisher(config(flow, rate=5000, messages=2500)).run()
    took = time.monotonic() - begin
    assert took >= report["sending_seconds"] >= 0.45  # a loaded machine may take longer
    assert len(received(receiver)) > 100  # not all at once


def test_the_rate_of_packets_is_kept(flow, receiver):
    report = Publisher(
        config(flow, packet_rate=200, messages=2500, max_messages=25, end_of_session=1)
    ).run()
    assert report["packets"] == 101
    assert report["sending_seconds"] >= 0.45


def test_heartbeats_go_out_while_there_is_nothing_to_say(flow, receiver):
    report = Publisher(config(flow, fast=True, messages=2500, heartbeat=0.05, linger=0.3)).run()
    events = events_of(received(receiver))
    beats = [e for e in events if isinstance(e, Heartbeat)]
    assert 3 <= len(beats) <= 7
    assert {b.next for b in beats} == {2501}
    assert report["heartbeats"] == len(beats)


def test_a_capture_goes_out_as_it_is_at_its_own_pace(tmp_path, flow, receiver):
    payloads = [mold(1, b"one", b"two"), mold(5, b"five"), mold(6, b"six", b""), mold(8)]
    path = capture_of(tmp_path, payloads, gap=200_000_000)
    begin = time.monotonic()
    report = Publisher(config(flow, source=str(path), speed=2.0, end_of_session=0)).run()
    assert time.monotonic() - begin >= 0.28
    assert received(receiver) == payloads
    assert (report["packets"], report["messages"]) == (4, 5)
    assert report["first_sequence"] is None
    assert report["source"] == {"kind": "capture", "path": str(path), "packets": 4, "skipped": 0}


def test_only_the_flow_that_is_asked_for_leaves_a_capture(tmp_path, flow, receiver):
    a, b = mold(1, b"a"), mold(1, b"b")
    first = capture_of(tmp_path, [a, b"short"], dst=("239.1.2.3", 5000), name="a.pcap")
    second = capture_of(tmp_path, [b], dst=("239.1.2.3", 5001), name="b.pcap")
    both = tmp_path / "both.pcap.gz"
    both.write_bytes(gzip.compress(first.read_bytes() + second.read_bytes()[24:]))
    options = {"source": str(both), "fast": True, "end_of_session": 0}
    report = Publisher(config(flow, flow="239.1.2.3:5001", **options)).run()
    assert received(receiver) == [b]
    assert report["source"]["skipped"] == 2
    report = Publisher(config(flow, **options)).run()
    assert received(receiver) == [a, b]
    assert report["source"]["skipped"] == 1  # too short for MoldUDP64


def test_stopping_leaves_the_rest_unsent_and_counts_what_went(flow, receiver):
    publisher = Publisher(config(flow, rate=5000, messages=1_000_000))
    with publisher:
        deadline = time.monotonic() + 20
        while publisher.messages < 500 and time.monotonic() < deadline:
            time.sleep(0.01)
    report = publisher.report()
    assert 500 <= report["messages"] < 1_000_000
    assert report["end_of_session"] == 0
    messages = [e for e in events_of(received(receiver)) if isinstance(e, Message)]
    assert len(messages) == report["messages"]
    assert report["next_sequence"] == report["messages"] + 1


def test_max_seconds_ends_it(flow):
    report = Publisher(config(flow, rate=1000, messages=1_000_000)).run(max_seconds=0.2)
    assert 0.15 < report["seconds"] < 60
    assert report["messages"] < 60_000


def test_records_in_are_records_out(tmp_path, flow):
    """The whole way, against the file decoded in memory."""
    generate(tmp_path / "day.itch", messages=20_000, seed=11)
    expected = Itch50().decode_file((tmp_path / "day.itch").read_bytes())
    ring = wp.RingBuffer(1 << 15)
    settings = wp.IngestionConfig(
        backend="socket", interface_name="lo", host=flow[0], port=flow[1], next_sequence=1
    )
    with wp.IngestionClient(settings) as client:
        client.start_ingestion(ring)
        with Publisher(config(flow, source=str(tmp_path / "day.itch"), rate=200_000)):
            got = np.concatenate(list(client.batches()))
    same = [name for name in wp.RECORD.names if name != "recv_time"]
    assert np.array_equal(got[same], expected[same])
    assert (np.diff(got["recv_time"]) >= 0).all()


# --- mistakes ----------------------------------------------------------------------------------
def test_a_source_that_is_nothing_known(tmp_path):
    for name, data, said in (
        ("a.txt", b"hello, world", "neither a capture"),
        ("b.itch", b"", "neither a capture"),
        ("c.gz", b"\x1f\x8b\x08broken", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(wp.ConfigError, match=said):
            Publisher(PublishConfig(source=str(tmp_path / name)))
    with pytest.raises(wp.ConfigError, match=r"cannot be read: No such file .* generated"):
        Publisher(PublishConfig(source="generatd"))


def test_a_capture_without_anything_to_send(tmp_path):
    path = capture_of(tmp_path, [b"short", b"also short"])
    with pytest.raises(wp.ConfigError, match=r"holds no MoldUDP64 packet to send \(2 frames"):
        Publisher(PublishConfig(source=str(path)))


def test_a_flow_of_a_file_that_has_none(tmp_path):
    generate(tmp_path / "day.itch", messages=2500)
    with pytest.raises(wp.ConfigError, match="only a capture holds several flows"):
        Publisher(PublishConfig(source=str(tmp_path / "day.itch"), flow="239.1.1.1:1"))


def test_a_day_published_into_a_capture_is_read_back(tmp_path):
    source, out = capture_of(tmp_path, []), tmp_path / "out.pcap"
    settings = PublishConfig(
        host="239.1.2.3",
        port=5000,
        via=f"pcap:{source},write={out}",
        source_host="10.0.0.1",
        fast=True,
        messages=3000,
        end_of_session=1,
        max_payload=1400,
    )
    assert Publisher(settings).run()["messages"] == 3000
    client = wp.IngestionClient(wp.IngestionConfig.from_spec(f"pcap:{out}"))
    with client:
        client.start_ingestion(wp.RingBuffer(1 << 13))
        assert sum(map(len, client.batches())) == 3000


def test_a_port_that_is_not_there():
    with pytest.raises(wp.ConfigError, match="no network interface"):
        Publisher(PublishConfig(via="socket:nowhere0"))
    with pytest.raises(wp.BackendUnavailable, match="no backend"):
        Publisher(PublishConfig(via="sokcet:lo"))


def refused(address):
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex(address) == errno.ECONNREFUSED


def test_a_start_that_fails_leaves_nothing_behind(flow):
    server = ("127.0.0.1", free_port())
    publisher = Publisher(config(flow, soup=f"127.0.0.1:{server[1]}", cpu_core=1000))
    with pytest.raises(wp.ConfigError, match="cpu_core"):
        publisher.start()
    assert refused(server)


def test_a_run_that_is_interrupted_ends_the_servers(flow):
    def interrupt(publisher):
        client.connect(server)
        raise KeyboardInterrupt

    server = ("127.0.0.1", free_port())
    publisher = Publisher(config(flow, soup=f"127.0.0.1:{server[1]}", rate=1000))
    with socket.socket() as client:
        client.settimeout(10)
        with pytest.raises(KeyboardInterrupt):
            publisher.run(on_progress=interrupt)
        assert refused(server)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""  # closed, not forgotten
    assert not publisher.running
    assert publisher.join()["messages"] < 60_000


def test_ctrl_c_ends_a_join(flow):
    publisher = Publisher(config(flow, rate=100))
    publisher.start()
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        publisher.join()
    timer.join()
    assert not publisher.running


def test_a_server_that_cannot_listen_leaves_no_counters(flow):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        taken = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(wp.WirepathError, match="cannot be listened to"):
            Publisher(config(flow, retransmit=taken))
    mine = f"publisher/{flow[0]}:{flow[1]}/retransmit"
    assert not [name for name in counters().counters if name.startswith(mine)]


def test_calls_out_of_order(flow):
    publisher = Publisher(config(flow, messages=2500, fast=True))
    with pytest.raises(StateError, match="join"):
        publisher.join()
    publisher.run()
    with pytest.raises(StateError, match="started already"):
        publisher.start()
    with pytest.raises(wp.ConfigError, match="a PublishConfig"):
        Publisher({"source": "generated"})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("239.1.1.1:9001", ("239.1.1.1", 9001)),
        ("[ff15::1]:9001", ("ff15::1", 9001)),
        ("*:5", ("*", 5)),
    ],
)
def test_groups_and_ports(text, address):
    assert flow_of(text) == address


@pytest.mark.parametrize("text", ["", "239.1.1.1", ":9001", "239.1.1.1:x", "a:1", "1.2.3.4:65536"])
def test_groups_and_ports_that_are_none(text):
    with pytest.raises(wp.ConfigError, match="GROUP:PORT"):
        flow_of(text)


# --- in a process of its own -------------------------------------------------------------------
def test_a_publisher_in_another_process_reports_the_same(flow, receiver):
    settings = config(flow, rate=50_000, messages=2500, loop=True, seed=9)
    process = PublisherProcess(settings)
    try:
        report = process.report()
    finally:
        process.kill()
    packets = received(receiver)
    assert report["packets"] == len(packets)
    assert report["messages"] == 2500
    assert report["source"]["seed"] == 9


def test_a_publisher_in_another_process_that_fails_says_why(flow):
    process = PublisherProcess(config(flow, via="socket:nowhere0"))
    with pytest.raises(wp.PortError, match="no network interface"):
        process.report()


def test_a_publisher_in_another_process_may_be_stopped_at_any_time(flow):
    for wait_for in (0, 1):  # before it could do anything, and while it sends
        process = PublisherProcess(config(flow, rate=20_000, end_of_session=0))
        try:
            deadline = time.monotonic() + 20
            while wait_for and not publishing(flow) and time.monotonic() < deadline:
                time.sleep(0.01)
            for _ in range(50):
                process.stop()
                time.sleep(0.005)
            report = process.report()
        finally:
            process.kill()
        assert report["interrupted"] is True
        assert report["messages"] < 1_000_000
        assert report["next_sequence"] == report["messages"] + 1


def publishing(to):
    """Some socket is bound that sends to this address."""
    group = socket.inet_aton(to[0])[::-1].hex().upper()
    return f" {group}:{to[1]:04X} " in Path("/proc/net/udp").read_text()


def test_every_option_has_an_argument(wirepath):
    help_text = wirepath("publish", "--help").out
    given = publish_arguments(
        PublishConfig(**{name: field.default for name, field in PublishConfig.model_fields.items()})
    )
    flags = [word for word in given if word.startswith("--")]
    assert len(flags) >= 20
    wide = help_text.replace("\n", " ")
    for flag in flags:
        assert flag.removeprefix("--no-")[:14].strip("-") in wide
