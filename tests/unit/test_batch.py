"""The batch's lifetime: valid until released, and no view ever shows another packet's bytes."""

from __future__ import annotations

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames

GROUP = ("239.255.77.1", 47001)


@pytest.fixture
def null_port():
    with wp.open("null:", steer=wp.everything(), batch_size=8) as port:
        yield port


@pytest.fixture
def capture(tmp_path):
    """A capture of 40 frames whose payload is their number, written by our own writer."""
    path = tmp_path / "numbers.pcap"
    source = tmp_path / "empty.pcap"
    source.write_bytes(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    with wp.open(f"pcap:{source}", steer=wp.everything(), write=path) as port:
        sent = port.send(
            [frames.udp(n.to_bytes(4, "big") * (1 + n), dst=GROUP, vlan=7) for n in range(40)]
        )
    assert sent == 40
    return path


def numbers(batch):
    return batch.column(0, ">u4", of="payload").tolist()


def test_iterating_a_capture_gives_every_frame_once_and_ends(capture):
    with wp.open(f"pcap:{capture}", steer=wp.everything(), batch_size=16) as port:
        sizes, seen = [], []
        for batch in port:
            sizes.append(len(batch))
            seen += numbers(batch)
    assert sizes == [16, 16, 8]
    assert seen == list(range(40))


def test_columns_headers_and_views_agree_with_the_frame(capture):
    with wp.open(f"pcap:{capture}", steer=wp.everything()) as port:
        batch = port.poll(0)
        expected = [
            frames.udp(n.to_bytes(4, "big") * (1 + n), dst=GROUP, vlan=7) for n in range(40)
        ]
        assert [bytes(batch[i]) for i in range(len(batch))] == expected
        assert bytes(batch[-1]) == expected[-1]
        assert batch.lengths.tolist() == [len(f) for f in expected]
        headers = batch.headers()
        assert headers.dtype == wp.HEADERS
        assert set(headers["vlan"]) == {7}
        assert set(headers["dst_port"]) == {GROUP[1]}
        assert headers["payload_length"].tolist() == [4 * (1 + n) for n in range(40)]
        assert headers["ip_dst"][0][:4].tolist() == [239, 255, 77, 1]
        assert batch.column(12, ">u2").tolist() == [0x8100] * 40
        # Where a frame is too short, 0; the last frame has 40 numbers.
        tail = batch.column(4 * 39, ">u4", of="payload").tolist()
        assert tail == [0] * 39 + [39]


def test_every_use_after_release_raises(null_port):
    batch = null_port.poll(0)
    view = batch[0]
    copied = batch.copy()
    before = bytes(view)
    batch.release()
    assert batch.released
    for use in (
        lambda: len(batch),
        lambda: batch[0],
        lambda: batch.lengths,
        lambda: batch.verdicts,
        lambda: batch.headers(),
        lambda: batch.column(0, "u1"),
        lambda: batch.copy(),
    ):
        with pytest.raises(wp.ReleasedError):
            use()
    with pytest.raises(ValueError, match="released"):
        view[0]
    assert bytes(copied[0]) == before
    batch.release()  # twice is no mistake


def test_the_loop_step_and_the_with_block_release(null_port):
    kept = []
    for batch in null_port:
        kept.append(batch)
        if len(kept) == 3:
            break
    assert [b.released for b in kept] == [True, True, False]
    with null_port.poll(0) as batch:
        assert not batch.released
    assert batch.released


def test_an_array_made_from_a_frame_keeps_that_frame_and_no_other(tmp_path):
    with (
        wp.open("socket:lo", steer=wp.udp(*GROUP), rx_ring_size=64) as rx,
        wp.open("socket:lo", steer=wp.udp(*GROUP), tx_only=True) as tx,
    ):
        tx.send([frames.udp(b"first" * 4, dst=GROUP)])
        batch = rx.poll(2)
        array = np.frombuffer(batch[0], dtype="u1")
        part = batch[0][42:47]
        content = array.tobytes()
        batch.release()
        assert rx.held == 1
        for round_number in range(20):  # more frames than the pool has
            tx.send([frames.udp(bytes([round_number]) * 20, dst=GROUP) for _ in range(16)])
            got = 0
            while got < 16:
                with rx.poll(2) as later:
                    got += len(later)
        assert array.tobytes() == content
        assert bytes(part) == b"first"
        del array, part
        assert rx.held == 0


def test_arrays_kept_past_the_batch_keep_their_values(null_port):
    batch = null_port.poll(0)
    timestamps, verdicts = batch.timestamps, batch.verdicts
    values = timestamps.tolist()
    batch.release()
    for _ in range(5):
        with null_port.poll(0) as later:
            later.verdicts[:] = wp.TX
    assert timestamps.tolist() == values
    assert set(verdicts.tolist()) == {wp.DROP}


def test_lengths_are_read_only_and_verdicts_are_not(null_port):
    with null_port.poll(0) as batch:
        with pytest.raises(ValueError, match="read-only"):
            batch.lengths[0] = 1
        batch.verdicts[::2] = wp.TX
        assert null_port.tx(batch) == 4
        batch.verdicts = wp.DROP
        assert set(batch.verdicts.tolist()) == {wp.DROP}


def test_closing_with_a_held_frame_waits_for_it(capture):
    port = wp.open(f"pcap:{capture}", steer=wp.everything())
    batch = port.poll(0)
    array = np.frombuffer(batch[3], dtype="u1")
    content = array.tobytes()
    batch.release()
    port.close()
    assert port.closed
    assert array.tobytes() == content
    with pytest.raises(wp.ReleasedError):
        port.poll(0)


def test_a_batch_dropped_without_release_gives_its_frames_back():
    with wp.open("socket:lo", steer=wp.udp(*GROUP), rx_ring_size=64) as rx:
        with wp.open("socket:lo", steer=wp.udp(*GROUP), tx_only=True) as tx:
            for _ in range(300):
                tx.send([frames.udp(b"x" * 20, dst=GROUP)])
                assert rx.poll(2) is not None
        assert rx.stats()["rx_packets"] == 300


@pytest.mark.parametrize(
    ("offset", "dtype", "of", "error"),
    [(0, "u1", "packet", wp.ConfigError), (-1, "u1", "frame", TypeError)],
)
def test_column_refuses_what_it_cannot_do(null_port, offset, dtype, of, error):
    with null_port.poll(0) as batch, pytest.raises(error):
        batch.column(offset, dtype, of)


def test_index_out_of_range(null_port):
    with null_port.poll(0) as batch:
        for index in (8, -9, 1000):
            with pytest.raises(IndexError, match="8"):
                batch[index]


def test_a_column_at_an_absurd_offset_is_zero_not_the_bytes_in_front(capture):
    with wp.open(f"pcap:{capture}", steer=wp.everything()) as port:
        batch = port.poll(0)
        for of in ("frame", "payload"):
            for dtype in ("u1", "<u4", "<u8", "S10"):
                width = np.dtype(dtype).itemsize
                for offset in (2**64 - width // 2 - 1, 2**64 - width, 2**63):
                    column = batch.column(offset, dtype, of=of)
                    assert not np.any(column.view("u1")), (of, dtype, offset)


def test_a_column_may_be_of_several_values_but_not_of_objects(capture):
    with wp.open(f"pcap:{capture}", steer=wp.everything()) as port:
        batch = port.poll(0)
        assert batch.column(0, "(6,)u1").tobytes() == batch.column(0, "S6").tobytes()
        with pytest.raises(wp.ConfigError, match="dtype"):
            batch.column(0, "O")


def test_the_exporter_of_a_released_frame_exports_no_more(capture):
    with wp.open(f"pcap:{capture}", steer=wp.everything()) as port:
        batch = port.poll(0)
        exporter = batch[0].obj
        batch.release()
        with pytest.raises(BufferError):
            memoryview(exporter)
