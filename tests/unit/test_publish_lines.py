"""The other side of a feed: lines that lose what they say, numbers that begin anew, and servers of
what was missed, over loopback and in captures."""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
import time

import pytest

import wirepath as wp
from wirepath.feed import Books, Itch50, MoldUDP64, SoupBinTCP, events
from wirepath.publish import LineConfig, PublishConfig, Publisher


def config(**more):
    return PublishConfig(**{"end_of_session_interval": 0.0, "symbols": 20, "seed": 3, **more})


def published(tmp_path, **more):
    """The report, and the payloads that went to each port, in order."""
    made = tmp_path / "out.pcap"
    report = Publisher(config(via=f"pcap:,write={made}", fast=True, **more)).run()
    by_port: dict[int, list[bytes]] = {}
    with wp.open(f"pcap:{made}", steer=wp.everything()) as port:
        for batch in port:
            headers = batch.headers()
            for i in range(len(batch)):
                start, length = headers["payload_offset"][i], headers["payload_length"][i]
                payload = batch[i][int(start) : int(start) + int(length)].tobytes()
                by_port.setdefault(int(headers["dst_port"][i]), []).append(payload)
    return report, by_port


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def same(got, expected):
    """Events as tuples are equal to events of another kind: their kinds have to be, too."""
    return [(type(e), e) for e in got] == [(type(e), e) for e in expected]


def listed(lost):
    return [(first, last) for _, first, last in lost["listed"]]


def messages_of(packets):
    session = MoldUDP64()
    return {e.seq: e.data for p in packets for e in session.on_packet(p) if hasattr(e, "data")}


LINES = (
    "239.1.1.1:9001,loss=0.05,duplicate=0.02,reorder=0.03",
    "239.1.1.2:9002,loss=0.02,burst_loss=0.003,burst_packets=30,max_messages=7",
)


# --- lines -------------------------------------------------------------------------------------
def test_the_gaps_of_a_receiver_are_those_that_the_report_says(tmp_path):
    report, packets = published(tmp_path, line=LINES, messages=30_000)
    received = {}
    for port, line in zip((9001, 9002), report["lines"], strict=True):
        session = MoldUDP64(next_sequence=1)
        got = [e.seq for p in packets[port] for e in session.on_packet(p) if hasattr(e, "data")]
        assert session.gaps == listed(line["lost"])
        assert session.missing == line["lost"]["messages"] == line["lost.messages"] > 0
        assert line["messages"] == len(got) == 30_000 - session.missing
        assert line["packets"] == len(packets[port])
        received[port] = set(got)
    both = set(range(1, 30_001)) - received[9001] - received[9002]
    everywhere = report["lost_everywhere"]
    assert {n for a, b in listed(everywhere) for n in range(a, b + 1)} == both
    assert everywhere["messages"] == len(both) > 0
    assert report["lines"][0]["duplicated"] > 0 and report["lines"][0]["reordered"] > 0
    assert report["published"] == 30_000 and report["next_sequence"] == 30_001
    assert report["messages"] + sum(x["lost.messages"] for x in report["lines"]) == 60_000
    # The same messages, packed differently.
    first, second = messages_of(packets[9001]), messages_of(packets[9002])
    assert all(second[n] == first[n] for n in received[9001] & received[9002])
    counts = {struct.unpack(">H", p[18:20])[0] for p in packets[9002]}
    assert max(counts - {0xFFFF}) == 7


def test_a_seed_gives_the_same_packets_again(tmp_path):
    first = published(tmp_path, line=LINES, messages=5000)
    again = published(tmp_path, line=LINES, messages=5000)
    assert first[1] == again[1]
    other = published(tmp_path, line=[LINES[0], LINES[1] + ",seed=77"], messages=5000)
    assert other[1][9001] == first[1][9001]
    assert other[1][9002] != first[1][9002]


def test_a_line_that_is_behind_brings_the_same_later():
    ports = [free_port(socket.SOCK_DGRAM) for _ in range(2)]
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
    try:
        for sock, port in zip(socks, ports, strict=True):
            sock.bind(("127.0.0.1", port))
            sock.settimeout(5)
        line = [f"127.0.0.1:{ports[0]}", LineConfig(to=f"127.0.0.1:{ports[1]}", skew_us=300_000)]
        with Publisher(config(line=line, rate=1000, messages=200, via="socket:")):
            payload = [socks[0].recv(65536)]
            begin = time.monotonic()
            payload.append(socks[1].recv(65536))
            assert 0.2 < time.monotonic() - begin < 2
        assert payload[0] == payload[1]
    finally:
        for sock in socks:
            sock.close()


def test_stopped_in_the_middle_everything_is_accounted_for(tmp_path):
    publisher = Publisher(
        config(line=LINES, rate=20_000, messages=1_000_000, via=f"pcap:,write={tmp_path}/x.pcap")
    )
    report = publisher.run(max_seconds=0.3)
    for line in report["lines"]:
        assert line["messages"] > 0
        assert (
            line["messages"] + line["lost.messages"] + line["refused.messages"]
            <= (report["published"])
        )
    assert report["published"] < 1_000_000


# --- numbers that begin anew -------------------------------------------------------------------
def shape(packets):
    """(session, sequence, count) of every packet, runs of data joined."""
    out = []
    for packet in packets:
        session = packet[:10].decode().rstrip()
        sequence, count = struct.unpack(">QH", packet[10:20])
        joins = out and out[-1][0] == session and out[-1][1] + out[-1][2] == sequence
        if 0 < count < 0xFFFF and joins and out[-1][2] > 0:
            out[-1] = (session, out[-1][1], out[-1][2] + count)
        else:
            out.append((session, sequence, -1 if count == 0xFFFF else count))
    return out


def test_a_reset_and_a_rollover(tmp_path):
    report, packets = published(
        tmp_path, messages=5000, reset_at=1001, reset_by="heartbeat", rollover_at=3001,
        next_session="TOMORROW", end_of_session=2, first_sequence=1,
    )  # fmt: skip
    assert shape(packets[9001]) == [
        ("WIREPATH", 1, 1000),
        ("WIREPATH", 1, 0),
        ("WIREPATH", 1, 2000),
        ("WIREPATH", 2001, -1),
        ("WIREPATH", 2001, -1),
        ("TOMORROW", 1, 2000),
        ("TOMORROW", 2001, -1),
        ("TOMORROW", 2001, -1),
    ]
    assert report["sessions"] == [
        {"session": "WIREPATH", "first_sequence": 1, "at": 0},
        {"session": "WIREPATH", "first_sequence": 1, "at": 1000},
        {"session": "TOMORROW", "first_sequence": 1, "at": 3000},
    ]
    assert report["next_sequence"] == 2001
    # An abrupt one, and a reset that nothing announces.
    _, packets = published(
        tmp_path, messages=5000, reset_at=3011, rollover_at=1011, next_session="B",
        first_sequence=11, rollover_end=False, end_of_session=1,
    )  # fmt: skip
    assert shape(packets[9001]) == [
        ("WIREPATH", 11, 1000), ("B", 1, 2000), ("B", 1, 2000), ("B", 2001, -1)
    ]  # fmt: skip


def test_a_changeover_says_the_end_until_the_new_session_begins(tmp_path):
    begin = time.monotonic()
    report, packets = published(
        tmp_path, messages=3000, rollover_at=1001, next_session="B", changeover=0.4,
        end_of_session=1, end_of_session_interval=0.1,
    )  # fmt: skip
    assert time.monotonic() - begin >= 0.4
    assert shape(packets[9001]) == [
        ("WIREPATH", 1, 1000), *[("WIREPATH", 1001, -1)] * 4, ("B", 1, 2000), ("B", 2001, -1)
    ]  # fmt: skip
    assert report["seconds"] >= 0.4
    assert report["sending_seconds"] <= report["seconds"] - 0.4


def test_losses_are_said_in_the_numbers_that_packets_had(tmp_path):
    report, packets = published(
        tmp_path, messages=5000, rollover_at=2001, next_session="B", max_messages=10,
        line=["239.1.1.1:9001,loss=0.2"],
    )  # fmt: skip
    missing = []
    for name, end in (("WIREPATH", 2000), ("B", 3000)):
        of_it = [p for p in packets[9001] if p[:10].decode().rstrip() == name]
        session = MoldUDP64(next_sequence=1)
        for packet in of_it:
            session.on_packet(packet)
        assert session.next_sequence == end + 1
        missing += [(name, *gap) for gap in session.gaps]
    assert report["lines"][0]["lost"]["listed"] == missing
    assert report["lost_everywhere"]["listed"] == missing


# --- retransmission ----------------------------------------------------------------------------
@pytest.fixture
def serving():
    """Starts publishers and stops them at the end."""
    started = []

    def start(**more):
        publisher = Publisher(
            config(via="socket:lo", host="239.255.77.1", port=free_port(socket.SOCK_DGRAM), **more)
        )
        publisher.start()
        started.append(publisher)
        return publisher

    yield start
    for publisher in started:
        publisher.stop()
        publisher.join()


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def request(first, count, session="WIREPATH"):
    return session.encode().ljust(10) + struct.pack(">QH", first, count)


def test_everything_can_be_asked_for_again(serving, tmp_path):
    port = free_port(socket.SOCK_DGRAM)
    publisher = serving(
        messages=3000, fast=True, retransmit=f"127.0.0.1:{port}", serve_linger=60.0, max_payload=500
    )
    _, packets = published(tmp_path, messages=3000)
    expected = messages_of(packets[9001])
    wait_for(lambda: publisher.published == 3000)
    got: dict[int, bytes] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", port))
        while len(got) < 3000:
            sock.send(request(len(got) + 1, 3000 - len(got)))
            answer = sock.recv(65536)
            assert len(answer) <= 500
            assert struct.unpack(">Q", answer[10:18])[0] == len(got) + 1
            got |= messages_of([answer])
        sock.send(request(3001, 1))
        sock.send(request(1, 1, "OTHER"))
        sock.send(b"short")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(65536)
    assert got == expected
    publisher.stop()
    stats = publisher.join()["retransmit"]
    assert stats["messages"] == 3000
    refused = {name: stats[name] for name in ("not_yet", "unknown_session", "malformed")}
    assert refused == {"not_yet": 1, "unknown_session": 1, "malformed": 1}
    assert stats["requests"] == stats["answered"] + 3


def test_a_server_that_is_silent_and_one_that_is_limited(serving):
    for more, counter in (
        ({"retransmit_silent": True}, "silenced"),
        ({"retransmit_rate": 0.01}, "limited"),
        ({"retransmit_loss": 1.0}, "lost"),
    ):
        port = free_port(socket.SOCK_DGRAM)
        publisher = serving(
            messages=500, fast=True, retransmit=f"127.0.0.1:{port}", serve_linger=60.0, **more
        )
        wait_for(lambda publisher=publisher: publisher.published == 500)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", port))
            for _ in range(30):
                sock.send(request(1, 1))
            wait_for(lambda publisher=publisher: publisher.report()["retransmit"]["requests"] == 30)
        stats = publisher.report()["retransmit"]
        assert stats[counter] == 30 - stats["answered"]
        assert stats["answered"] == (10 if counter == "limited" else 0)


# --- SoupBinTCP and GLIMPSE --------------------------------------------------------------------
class Client:
    """A blocking client around the session."""

    def __init__(self, port, **options):
        self.soup = SoupBinTCP(**options)
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.soup.connected(time.monotonic_ns())
        self.sock.sendall(self.soup.output())
        self.events: list[object] = []

    def until(self, *kinds):
        """Reads until an event of these comes, or the server closes."""
        while not any(isinstance(e, kinds) for e in self.events):
            data = self.sock.recv(10_000)
            if not data:
                break
            now = time.monotonic_ns()
            self.events += self.soup.on_bytes(data, now)
            self.soup.on_time(now)
            self.sock.sendall(self.soup.output())
        return self.events

    def messages(self):
        return {e.seq: e.data for e in self.events if isinstance(e, events.Message)}

    def close(self):
        self.sock.close()


def test_clients_replay_the_session_from_where_they_ask(serving, tmp_path):
    port = free_port()
    publisher = serving(
        messages=4000, rate=20_000, soup=f"127.0.0.1:{port}", serve_linger=60.0,
        username="user", password="secret",
    )  # fmt: skip
    expected = messages_of(published(tmp_path, messages=4000)[1][9001])
    out: dict[int, list[object]] = {}

    def follow(first):
        client = Client(port, username="USER", password="secret", next_sequence=first)
        out[first] = client.until(events.EndOfSession)
        client.close()

    threads = [threading.Thread(target=follow, args=(n,)) for n in (1, 1500, 3999)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for first, got in out.items():
        # A number that is yet to come is answered by the next one that will.
        accepted = got[0]
        assert isinstance(accepted, events.LoginAccepted) and accepted.session == "WIREPATH"
        assert accepted.next <= first
        messages = {e.seq: e.data for e in got if isinstance(e, events.Message)}
        assert messages == {n: m for n, m in expected.items() if n >= first}
        assert same([got[-1]], [events.EndOfSession(4001)])
    assert set(out) == {1, 1500, 3999}
    refused = Client(port, username="user", password="wrong")
    assert refused.until(events.LoginRejected) == [events.LoginRejected("A")]
    refused.close()
    other = Client(port, username="user", password="secret", session="OTHER")
    assert other.until(events.LoginRejected) == [events.LoginRejected("S")]
    other.close()
    wait_for(lambda: publisher.report()["soup"]["closed"] == 5)
    stats = publisher.report()["soup"]
    assert (stats["connections"], stats["logins"], stats["end_of_session"]) == (5, 3, 3)
    assert (stats["rejected.user"], stats["rejected.session"]) == (1, 1)


def test_a_client_is_told_the_end_of_each_session(serving):
    port = free_port()
    serving(
        messages=3000, fast=True, soup=f"127.0.0.1:{port}", serve_linger=60.0,
        rollover_at=1001, next_session="NEXT",
    )  # fmt: skip
    client = Client(port, session="WIREPATH")
    got = client.until(events.EndOfSession)
    assert same([got[0]], [events.LoginAccepted("WIREPATH", 1)])
    assert same([got[-1]], [events.EndOfSession(1001)])
    assert len(client.messages()) == 1000
    client.close()
    # The session goes on by itself to the one that is current.
    client.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.events = []
    client.soup.connected(time.monotonic_ns())
    client.sock.sendall(client.soup.output())
    got = client.until(events.EndOfSession)
    assert same(
        got[:2], [events.SessionChange("WIREPATH", "NEXT"), events.LoginAccepted("NEXT", 1)]
    )
    assert same([got[-1]], [events.EndOfSession(2001)])
    assert len(client.messages()) == 2000
    client.close()


def test_heartbeats_keep_an_idle_client(serving):
    port = free_port()
    publisher = serving(messages=500, rate=1e6, linger=60.0, soup=f"127.0.0.1:{port}")
    client = Client(port, next_sequence=0)
    got = client.until(events.Heartbeat)
    assert same([got[-1]], [events.Heartbeat(501)])
    client.close()
    wait_for(lambda: publisher.report()["soup"]["closed"] == 1)


def books_of(messages):
    decoder, books = Itch50(), Books()
    framed = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    books.apply(decoder.decode_file(framed))
    return books


def test_a_snapshot_and_the_feed_behind_it_make_the_books(serving, tmp_path):
    day = messages_of(published(tmp_path, messages=20_000)[1][9001])
    port = free_port()
    publisher = serving(messages=20_000, rate=5000, glimpse=f"127.0.0.1:{port}")
    snapshots = []
    for at in (0, 3000, 6000):
        wait_for(lambda at=at: publisher.published >= at)
        client = Client(port)
        got = client.until(events.EndOfSession)
        client.close()
        assert same([got[0]], [events.LoginAccepted("WIREPATH", 1)])
        snapshots.append([e.data for e in got if isinstance(e, events.Message)])
    publisher.stop()
    numbers = []
    for snapshot in snapshots:
        end = snapshot.pop()
        assert end[:1] == b"G" and len(end) == 21 and end[1:].isdigit()
        following = int(end[1:])
        numbers.append(following)
        # At that number, and a while later.
        for until in (following, min(following + 2000, 20_001)):
            spliced = books_of([*snapshot, *(day[n] for n in range(following, until))])
            whole = books_of([day[n] for n in range(1, until)])
            assert spliced.counters["unknown_order"] == spliced.counters["duplicate_order"] == 0
            assert spliced.instruments() == whole.instruments()
            for instrument in whole.instruments():
                for side in "BS":
                    assert (
                        spliced.orders(instrument, side).tobytes()
                        == whole.orders(instrument, side).tobytes()
                    )
    assert len(spliced) > 0
    assert numbers[0] < numbers[1] < numbers[2]
    assert publisher.join()["glimpse"]["snapshots"] == 3


@pytest.mark.parametrize("kind", ["soup", "glimpse"])
def test_a_client_that_says_it_has_nothing_more_to_say_gets_what_it_asked_for(serving, kind):
    """It closes its half of the connection right behind its login."""
    port = free_port()
    publisher = serving(
        messages=20_000, fast=True, serve_linger=60.0, **{kind: f"127.0.0.1:{port}"}
    )
    wait_for(lambda: not publisher.running)
    client = Client(port)
    client.sock.shutdown(socket.SHUT_WR)
    client.soup.output()
    received = b""
    while data := client.sock.recv(65_536):
        received += data
    client.close()
    got = client.soup.on_bytes(received, time.monotonic_ns())
    assert same(got[-1:], [events.EndOfSession(got[-1].next)])
    if kind == "soup":
        assert len([e for e in got if isinstance(e, events.Message)]) == 20_000
    else:
        assert got[-2].data[:1] == b"G"
        assert int(got[-2].data[1:]) == 20_001
    wait_for(lambda: publisher.report()[kind]["closed"] == 1)
    # One that wants nothing is not kept.
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(10) == b""


def test_without_file_descriptors_a_server_waits_and_does_not_spin(serving):
    port = free_port()
    publisher = serving(messages=500, fast=True, soup=f"127.0.0.1:{port}", serve_linger=60.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sock = socket.socket()
    sock.settimeout(10)
    spare = os.open("/dev/null", os.O_RDONLY)
    os.close(spare)
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]  # what holes there are
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare, *taken) + 1, hard))
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        sock.connect(("127.0.0.1", port))
        begin = time.process_time()
        time.sleep(1.0)
        spent = time.process_time() - begin
        failures = publisher.report()["soup"]["no_descriptor"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    with sock:
        assert 1 <= failures <= 15
        assert spent < 0.5
        assert publisher.report()["soup"]["connections"] == 0
        soup = SoupBinTCP()
        soup.connected(time.monotonic_ns())
        sock.sendall(soup.output())
        assert soup.on_bytes(sock.recv(100), time.monotonic_ns())[0] == events.LoginAccepted(
            "WIREPATH", 1
        )


# --- what is refused ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"line": ["239.1.1.1:9001,loss=2"]}, "line 1: loss = 2 is not usable"),
        ({"line": ["239.1.1.1:9001,los=1"]}, "line 1: there is no option los"),
        ({"line": ["239.1.1.1:9001,loss"]}, "line 1: line = "),
        ({"line": [{"loss": 0.5}]}, "line 1: to is missing"),
        ({"line": ["239.1.1.1:9001", "here"]}, 'line 2: to = "here"'),
        ({"line": ["239.1.1.1:9001,skew_us=5"], "fast": True}, "line 1: skew_us = 5"),
        (
            {"line": ["239.1.1.1:1", "239.1.1.1:2,max_messages=5"], "packet_rate": 5},
            "packet_rate = 5 is not usable: it must be left out, with rate in its place",
        ),
        ({"reset_at": 5, "first_sequence": 5}, "reset_at = 5 is not usable: it must be above"),
        ({"rollover_at": 5}, "next_session is missing"),
        ({"next_session": "B"}, "next_session"),
        ({"rollover_at": 5, "next_session": "WIREPATH"}, "another name than session"),
        ({"rollover_at": 5, "next_session": "B", "reset_at": 5}, "another number than rollover_at"),
        ({"line": ["239.1.1.1:9001", "239.1.1.1:9001,loss=0.1"]}, "than line 1's"),
        ({"changeover": 0.5}, "left out without reset_at and rollover_at"),
        ({"retransmit_silent": True}, "retransmit_silent = True"),
        ({"password": "x"}, "password"),
        ({"soup": "127.0.0.1:1", "glimpse": "127.0.0.1:1"}, "glimpse"),
        ({"messages": 1000, "symbols": 500}, "or symbols (--symbols) at most 246"),
    ],
)
def test_what_does_not_go_together(values, says):
    with pytest.raises(wp.ConfigError) as caught:
        PublishConfig(**values)
    assert says in str(caught.value)
    assert len(str(caught.value).split("\n")) == 1


def test_the_symbols_that_the_error_names_are_enough():
    PublishConfig(messages=1000, symbols=246)


def test_a_capture_has_numbers_of_its_own(tmp_path):
    _, packets = published(tmp_path, messages=500)
    assert packets
    path = str(tmp_path / "out.pcap")
    for more in ({"line": LINES}, {"soup": "127.0.0.1:9"}, {"reset_at": 9}):
        with pytest.raises(wp.ConfigError, match="capture go out as they are"):
            Publisher(PublishConfig(source=path, via=f"pcap:,write={tmp_path}/y.pcap", **more))


def test_an_address_that_is_taken(serving):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        taken = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(wp.WirepathError, match=r"soup: .* cannot be listened to"):
            Publisher(config(messages=500, via="socket:lo", soup=taken))


def test_lines_come_from_a_file_and_go_back_into_one(tmp_path):
    path = tmp_path / "publish.toml"
    path.write_text(
        '[publish]\nmessages = 500\nsymbols = 20\nretransmit = "127.0.0.1:9500"\n'
        '[[publish.line]]\nto = "239.1.1.1:9001"\nloss = 0.01\n'
        '[[publish.line]]\nto = "[ff15::1]:9002"\nmax_messages = 5\nskew_us = 10\n'
    )
    read = PublishConfig.from_toml(path)
    assert [line.to for line in read.line] == ["239.1.1.1:9001", "[ff15::1]:9002"]
    assert read.line[0].loss == 0.01 and read.line[1].skew_us == 10
    again = tmp_path / "again.toml"
    again.write_text(read.to_toml())
    assert PublishConfig.from_toml(again) == read
    assert [LineConfig.parse(str(line)) for line in read.line] == list(read.line)


def test_the_command_line(wirepath, tmp_path):
    path = tmp_path / "publish.toml"
    path.write_text('[publish]\nsymbols = 20\n[[publish.line]]\nto = "239.1.1.1:9009"\n')
    answer = wirepath(
        "publish", "--config", path, "--messages", 2000, "--fast", "--json", "--via",
        f"pcap:,write={tmp_path}/out.pcap", "--line", LINES[0], "--line", LINES[1],
    )  # fmt: skip
    report = answer.json
    assert [line["to"] for line in report["lines"]] == ["239.1.1.1:9001", "239.1.1.2:9002"]
    assert report["published"] == 2000
    shown = wirepath(
        "publish", "--config", path, "--messages", 2000, "--fast", "--via",
        f"pcap:,write={tmp_path}/out.pcap", "--line", LINES[0], "--line", LINES[1],
    )  # fmt: skip
    assert "lost by every line" in shown.out
    both = wirepath("publish", "--to", "239.1.1.1:9001", "--line", LINES[0])
    assert both.code == 2 and "left out with --line" in both.err
