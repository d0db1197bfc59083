"""The main job over real ports: the same records on every backend, and every loss accounted for."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from shared_data import shared

import wirepath as wp
from wirepath.lab import Lab
from wirepath.measure import measure
from wirepath.publish import PublishConfig

GROUP, PORT = "239.255.99.1", 49001
CLOCKS = ("recv_time",)
SMALL_RECEIVE_BUFFER = {"socket": {"rx_buffer_bytes": 65536}, "af_xdp": {"frames": 256}}

pytestmark = pytest.mark.lab


def backend_or_skip(name):
    status = {b.name: b for b in wp.backends()}[name]
    if not status.available:
        pytest.skip(f"{name}: {status.reason}")


def run(lab, backend, publish, *, ring=None, **changes):
    """One measured ingestion on host b of what host a publishes; returns (run, records)."""
    backend_or_skip(backend)
    config = wp.IngestionConfig(
        **{
            "backend": backend,
            "interface_name": lab["b"].interface.name,
            "host": GROUP,
            "port": PORT,
            "rx_ring_size": 8192,
            "batch_size": 64,
        }
        | changes
    )
    parts = []
    done = measure(
        config,
        publish,
        receiver=lab["b"],
        sender=lab["a"],
        ring=wp.RingBuffer(1 << 18) if ring is None else ring,
        on_records=parts.append,
        max_seconds=120,
    )
    return done, (np.concatenate(parts) if parts else np.empty(0, wp.RECORD))


def publishing(lab, **changes):
    return PublishConfig(
        **{"host": GROUP, "port": PORT, "via": f"socket:{lab['a'].interface.name}"} | changes
    )


MEMIF = "dpdk:net_memif0,role={role},socket={folder}/feed.sock,socket-abstract=no"
SPECS = {
    "socket": "socket:wp0",
    "af_xdp": "af_xdp:wp0",
    "af_xdp-generic": "af_xdp:wp0,mode=generic",
    "dpdk-memif": MEMIF,
    "dpdk-af_xdp": "dpdk:net_af_xdp0,iface=wp0",
    "dpdk-af_packet": "dpdk:net_af_packet0,iface=wp0",
    "ef_vi-x2": "ef_vi_sim:wp0",
    "ef_vi-x2-merged": "ef_vi_sim:wp0,event_merge=true",
    "ef_vi-x3": "ef_vi_sim:wp0,nic=x3",
    "ef_vi-x3-shared": "ef_vi_sim:wp0,nic=x3,zero_copy=require",
}


def answer(process):
    """The object that a command ends with."""
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def wait_until_open(process):
    """Until the port's counters are there for others to read."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[1]
        with contextlib.suppress(wp.WirepathError, OSError):
            if any(name.startswith("port/") for name in wp.attach(process.pid).counters):
                return
        time.sleep(0.02)
    raise AssertionError("the feed does not open its port")


def feed_command(lab, folder, name, source):
    """`wirepath feed SPEC GROUP:PORT` on b, published to from another process on a: what both
    say, and the records."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = SPECS[name].format(role="server", folder=folder)
    backend_or_skip(spec.partition(":")[0])
    out = folder / "records.npy"
    flow = f"{GROUP}:{PORT}"
    command = [sys.executable, "-m", "wirepath"]
    texts = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    feed = lab["b"].popen(
        [*command, "feed", spec, flow, "--json", "--out", str(out), "--max-seconds", "50"], **texts
    )
    try:
        wait_until_open(feed)
        memif = SPECS[name] == MEMIF
        via = MEMIF.format(role="client", folder=folder) if memif else "socket:wp0"
        sender = lab["a"].popen(
            [*command, "publish", *source, "--to", flow, "--via", via, "--json"]
            + ["--source-host", lab["a"].interface.ipv4] * memif,
            **texts,
        )
        try:
            published = answer(sender)
        finally:
            sender.kill()
            sender.communicate()
        return answer(feed), published, np.load(out)
    finally:
        feed.kill()
        feed.communicate()


GENERATED = ["--messages", "30000", "--rate", "100000", "--seed", "7"]


@pytest.fixture(scope="module")
def by_socket(tmp_path_factory, lab_refusal):
    """The records that every backend has to give."""
    if lab_refusal is not None:
        pytest.skip(f"lab: {lab_refusal}")
    with Lab(f"wptf{os.getpid()}") as lab:
        return feed_command(lab, tmp_path_factory.mktemp("feed"), "socket", GENERATED)[2]


@pytest.mark.parametrize("name", SPECS)
def test_one_command_line_gives_the_same_records_on_every_backend(
    lab_name, tmp_path, by_socket, name
):
    with Lab(lab_name) as lab:
        told, published, records = feed_command(lab, tmp_path, name, GENERATED)
    sender = published["port_stats"]
    lost_by_sender = sum(
        sender.get(k, 0) for k in ("drop.tx_refused", "drop.tx_ring_full", "nic.tx_dropped")
    )
    drops = told["dropped"]
    others = drops.pop("port.filtered", 0)  # of no feed: reports of memberships, neighbours
    assert published["messages"] == 30_000
    assert told["messages"] == told["delivered"] + told["ring_full"]
    assert published["messages"] == told["delivered"] + told["missing"] + told["ring_full"]
    assert (
        published["packets"]
        == told["packets"]
        + sum(count for layer, count in drops.items() if layer.startswith("port."))
        + lost_by_sender
    ), (others, drops, told["port_stats"])
    assert told["delivered"] == told["consumed"] == len(records) == 30_000
    for column in wp.RECORD.names:
        if column not in CLOCKS:
            assert np.array_equal(records[column], by_socket[column]), column


CAPTURES = [
    "AddOrderNoMpidAttributionMessage",
    "MarketParticipantPositionMessage",
    "Multiple.Packets",
    "NetOrderImbalanceIndicatorMessage",
    "OrderDeleteMessage",
    "OrderExecutedMessage",
    "OrderReplaceMessage",
    "StockTradingActionMessage",
]


@pytest.mark.parametrize("capture", CAPTURES)
def test_real_frames_give_identical_records_on_socket_af_xdp_and_from_the_file(lab_name, capture):
    path = shared(f"mold/itch50_2023/{capture}.pcap")
    results = {}
    with Lab(lab_name) as lab:
        publish = publishing(lab, source=str(path), fast=True)
        for backend in ("socket", "af_xdp"):
            done, records = run(lab, backend, publish)
            assert done.account.packets.residual == 0
            results[backend] = records
    from_file = wp.IngestionConfig(backend="pcap", capture=str(path))
    parts = []
    measure(from_file, on_records=parts.append)
    results["pcap"] = np.concatenate(parts)
    expected = results["pcap"]
    assert len(expected) > 0
    for backend in ("socket", "af_xdp"):
        for column in wp.RECORD.names:
            if column != "recv_time":
                assert np.array_equal(results[backend][column], expected[column]), column
        assert (results[backend]["recv_time"] > expected["recv_time"]).all()


def test_five_million_messages_over_af_xdp_without_a_loss(lab_name):
    with Lab(lab_name) as lab:
        done, records = run(
            lab, "af_xdp", publishing(lab, messages=5_000_000, rate=400_000, pack_window_us=500)
        )
    assert done.published["messages"] == 5_000_000
    assert done.account.messages.equation() == "5,000,000 published = 5,000,000 delivered"
    assert done.account.balanced
    assert done.account.packets.dropped == 0
    assert len(records) == done.consumed == 5_000_000
    assert np.array_equal(records["seq"], np.arange(1, 5_000_001, dtype="u8"))
    assert "native" in done.info["mode"]


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_more_than_can_be_taken_loses_and_every_loss_is_counted(lab_name, backend):
    """One message a packet, as fast as the sender can, into a receiver with little room."""
    with Lab(lab_name) as lab:
        publish = publishing(
            lab,
            messages=400_000,
            fast=True,
            max_messages=1,
            burst=1024,
            end_of_session_interval=0.5,
        )
        done, records = run(
            lab,
            backend,
            publish,
            options=SMALL_RECEIVE_BUFFER[backend],
            rx_ring_size=64,
        )
    packets, messages = done.account.packets, done.account.messages
    assert done.published["messages"] == 400_000
    assert packets.residual == 0, packets.equation()
    assert messages.residual == 0, messages.equation()
    assert packets.dropped > 0, "nothing was lost: the test did not overload the receiver"
    assert len(records) == messages.delivered
    assert np.all(np.diff(records["seq"].astype("i8")) > 0)
    (channel,) = done.snapshot["channels"]
    lost = sum(last - first + 1 for first, last in channel["gaps"])
    assert lost + channel["counters"]["abandoned"] == messages.dropped


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_a_full_ring_that_drops_is_in_the_account(lab_name, backend):
    with Lab(lab_name) as lab:
        ring = wp.RingBuffer(2, policy="drop")
        done, records = run(lab, backend, publishing(lab, messages=50_000, rate=500_000), ring=ring)
    messages = done.account.messages
    assert messages.residual == 0, messages.equation()
    assert done.ring["dropped"] > 0
    assert {line.layer: line.count for line in messages.drops}["ring.full"] == done.ring["dropped"]
    assert len(records) == messages.delivered
