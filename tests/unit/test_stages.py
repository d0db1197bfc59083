"""Stages: the same function in Python and compiled, shared objects, and how their errors come."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames
from wirepath._core import BATCH_ABI

NUMBA = importlib.util.find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not NUMBA, reason="numba is not installed: pip install numba")
MODES = ["never", pytest.param("require", marks=needs_numba)]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EMPTY = bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000")
GROUP = ("239.255.70.1", 47701)


@pytest.fixture
def capture(tmp_path):
    """A capture of 300 frames of different lengths, flows and kinds."""
    rng = np.random.default_rng(7)
    sent = []
    for n in range(300):
        payload = rng.bytes(int(rng.integers(1, 900)))
        if n % 10 == 9:
            sent.append(rng.bytes(int(rng.integers(14, 80))))  # anything
        else:
            vlan = 5 if n % 7 == 0 else None
            source = (f"10.0.0.{n % 4}", 1000 + n)
            sent.append(frames.udp(payload, dst=(GROUP[0], 5000 + n % 9), src=source, vlan=vlan))
    return write_capture(tmp_path, "mixed", sent), sent


def write_capture(folder, name, sent):
    empty, path = folder / f"{name}-empty.pcap", folder / f"{name}.pcap"
    empty.write_bytes(EMPTY)
    with wp.open(f"pcap:{empty}", steer=wp.everything(), write=path) as port:
        assert port.send(sent) == len(sent)
    return path


def run(spec, *stages, batch_size=64):
    with wp.open(spec, steer=wp.everything(), batch_size=batch_size) as port:
        worker = wp.Worker("test", batch_size=batch_size)
        worker.add_port(port)
        for stage in stages:
            worker.add_stage(stage)
        worker.start()
        worker.join()
        return worker.stats()


ROW = np.dtype(
    [
        ("frames", np.int64),
        ("bytes", np.int64),
        ("last", np.int64),
        ("mean", np.float64),
        ("by_byte", np.int64, (4,)),
        ("small", np.uint16),
    ]
)


@wp.stage
def everything(batch, state):
    """Uses all that a stage may, with arithmetic that NumPy's scalars would get wrong."""
    total = state[0]
    for i in range(batch.count):
        frame = batch.data[i]
        row = state[1 + (frame[len(frame) - 1] & 3)]
        row["frames"] += 1
        row["bytes"] += batch.length[i] - 20  # uint32 would wrap below 20
        row["by_byte"][frame[0] & 3] += frame[12] << 8 | frame[13]  # uint8 would wrap at 256
        row["small"] = frame[-1]
        row["mean"] = row["bytes"] / row["frames"]
        row["last"] = max(row["last"], batch.timestamp[i])
        if len(frame) != batch.length[i] or len(batch.data) != batch.count != len(batch):
            return 7
        tail = frame[13:]
        tail[0] = tail[0] ^ 0xFF
        tail[0] ^= 0xFF
        if len(frame) > 36 and wp.be16(frame, 12) == 0x0800:
            batch.verdict[i] = wp.TX if wp.be32(frame, 26) % 3 else wp.PASS
        elif batch.hash[i] == 0 and batch.port == 0 and batch.queue == 0:
            batch.verdict[i] = wp.REDIRECT
            batch.target[i] = 300 + i
    total["frames"] += batch.count
    return 0


class Record:
    """A stage that notes what the stages before it wrote."""

    def __init__(self):
        self.verdicts, self.targets = [], []

        @wp.stage(compile="never")
        def record(batch, state):
            self.verdicts += batch.verdict.tolist()
            self.targets += batch.target.tolist()

        self.stage = record.bind()


@needs_numba
def test_python_and_compiled_give_the_same_verdicts_and_state(capture):
    path, sent = capture
    seen = {}
    for how in ("never", "require"):
        state, record = np.zeros(5, ROW), Record()
        stage = everything.bind(state, compile=how)
        stats = run(f"pcap:{path}", stage, record.stage)
        seen[how] = (record.verdicts, record.targets, state.tobytes(), stats)
        assert state["frames"][0] == state["frames"][1:].sum() == len(sent)
        assert stage.info()["mode"].startswith("python" if how == "never" else "compiled (numba ")
    assert seen["never"] == seen["require"]
    assert len(set(seen["never"][0])) == 3  # TX, PASS, REDIRECT


def test_the_same_body_takes_a_polled_batch(capture):
    path, _ = capture
    state = np.zeros(5, ROW)
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        for batch in port:
            assert everything(batch, state) == 0
            assert batch.count == len(batch) == len(batch.data)
    again = np.zeros(5, ROW)
    run(f"pcap:{path}", everything.bind(again, compile="never"))
    assert state.tobytes() == again.tobytes()


@pytest.mark.parametrize("how", MODES)
def test_verdicts_reach_the_wire(capture, tmp_path, how):
    @wp.stage(compile=how)
    def odd_back(batch, state):
        for i in range(batch.count):
            if batch.length[i] % 2:
                batch.data[i][0:6] = batch.data[i][6:12]
                batch.verdict[i] = wp.TX

    path, sent = capture
    out = tmp_path / "out.pcap"
    stats = run(f"pcap:{path},write={out}", odd_back.bind())
    expected = [f[6:12] + f[6:] for f in sent if len(f) % 2]
    assert stats["verdict.tx"] == len(expected)
    with (
        wp.open(f"pcap:{out}", steer=wp.everything(), batch_size=512) as port,
        port.poll(0) as batch,
    ):
        assert [bytes(batch[i]) for i in range(len(batch))] == expected


def test_a_python_stage_has_the_whole_batch(capture):
    path, sent = capture
    lengths, columns, headers = [], [], []

    @wp.stage(compile="never")
    def vectors(batch, state):
        lengths.extend(batch.lengths.tolist())
        columns.extend(batch.column(12, ">u2").tolist())
        headers.append(batch.headers())
        batch.verdicts[:] = wp.PASS

    stats = run(f"pcap:{path}", vectors.bind())
    assert lengths == [len(f) for f in sent]
    assert columns == [int.from_bytes(f[12:14], "big") for f in sent]
    assert sum(map(len, headers)) == stats["verdict.pass"] == len(sent)


@pytest.mark.parametrize("how", MODES)
def test_state_is_seen_while_the_worker_runs(how):
    @wp.stage(compile=how)
    def until_told(batch, state):
        state[1] += batch.count
        return state[0]

    state = np.zeros(2, np.int64)
    with wp.open("null:", steer=wp.everything()) as port:
        worker = wp.Worker("told")
        worker.add_port(port)
        worker.add_stage(until_told, state)
        worker.start()
        while state[1] < 10_000:
            pass
        state[0] = 23
        with pytest.raises(wp.PortError, match="stage until_told returned 23"):
            worker.join()
    assert worker.stats()["frames"] == state[1]


# --- errors -------------------------------------------------------------------------------------


def failing(how, body):
    stage = wp.stage(compile=how)(body)
    with wp.open("null:", steer=wp.everything()) as port:
        worker = wp.Worker("failing")
        worker.add_port(port)
        worker.add_stage(stage.bind(np.zeros(4, np.int64)))
        worker.start()
        try:
            worker.join()
        finally:
            assert not worker.running
        worker.join()  # told once
    pytest.fail("nothing was raised")


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("where", ["frame", "frames", "verdict", "state", "division", "raise"])
def test_an_exception_is_raised_by_join_with_its_stage(how, where):
    def frame(batch, state):
        state[0] += batch.data[0][10_000]

    def frames_(batch, state):
        state[0] += batch.data[batch.count][0]

    def verdict(batch, state):
        batch.verdict[batch.count] = 1

    def state_(batch, state):
        state[4] = 1

    def division(batch, state):
        state[0] = 1 // (batch.count - batch.count)

    def raise_(batch, state):
        raise KeyError("mine")

    bodies = {
        "frame": (frame, IndexError),
        "frames": (frames_, IndexError),
        "verdict": (verdict, IndexError),
        "state": (state_, IndexError),
        "division": (division, ZeroDivisionError),
        "raise": (raise_, KeyError),
    }
    body, kind = bodies[where]
    with pytest.raises(kind) as caught:
        failing(how, body)
    assert any(f"in stage {body.__name__}" in note for note in caught.value.__notes__)
    if how == "never":
        lines = [f.line for f in traceback.extract_tb(caught.tb) if f.name == body.__name__]
        assert lines, "the user's frame is in the traceback"
        assert lines[0] in inspect.getsource(body)


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize(
    ("code", "told"),
    [(7, 7), (-3, -3), (1 << 33, 2**31 - 1), (-(1 << 33), 1 - 2**31), (-(1 << 31), 1 - 2**31)],
)
def test_a_code_stops_the_worker_also_where_it_does_not_fit(how, code, told):
    def body(batch, state):
        return code

    with pytest.raises(wp.PortError, match=f"returned {told}$"):
        failing(how, body)


def test_what_a_stage_must_not_do():
    def answer(batch, state):
        return "yes"

    with pytest.raises(TypeError, match="answer returned 'yes'"):
        failing("never", answer)

    def release(batch, state):
        batch.release()

    with pytest.raises(wp.Unsupported, match="cannot release"):
        failing("never", release)

    def too_large(batch, state):
        batch.verdict[0] = 300

    with pytest.raises(OverflowError):
        failing("never", too_large)

    def read_only(batch, state):
        batch.length[0] = 1

    with pytest.raises(ValueError, match="read-only"):
        failing("never", read_only)


def test_an_array_kept_past_the_batch_stops_the_worker_and_keeps_its_bytes(capture):
    kept = []

    def keep(batch, state):
        kept.append(batch.data[3][14:])

    with pytest.raises(wp.ReleasedError, match="kept an array of frame 3"):
        failing("never", keep)
    before = kept[0].tobytes()
    gc.collect()
    assert kept[0].tobytes() == before

    seen = []

    @wp.stage(compile="never")
    def later(batch, state):
        seen.append((batch, batch.length, batch.verdict))

    path, sent = capture
    run(f"pcap:{path}", later.bind())
    with pytest.raises(wp.ReleasedError):
        seen[0][0].count  # noqa: B018
    # Columns that were kept go on showing what they showed.
    assert [n for _, lengths, _ in seen for n in lengths] == [len(f) for f in sent]


def test_a_worker_that_is_thrown_away_while_python_runs_in_it():
    entered = threading.Event()

    @wp.stage(compile="never")
    def slow(batch, state):
        entered.set()
        state[0] += 1

    state = np.zeros(1, np.int64)
    with wp.open("null:", steer=wp.everything()) as port:
        worker = wp.Worker("thrown")
        worker.add_port(port)
        worker.add_stage(slow, state)
        worker.start()
        assert entered.wait(10)
        del worker
        gc.collect()
        after = state[0]
    assert state[0] == after


def test_the_interpreter_ends_with_python_stages_running():
    script = """
import wirepath as wp
@wp.stage(compile="never")
def busy(batch, state):
    pass
port = wp.open("null:", steer=wp.everything())
worker = wp.Worker("left")
worker.add_port(port)
worker.add_stage(busy)
worker.start()
print("ends")
"""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


# --- compiling ----------------------------------------------------------------------------------


def unknown_attribute(batch, state):
    for i in range(batch.count):
        frame = batch.data[i]
        batch.verdict[i] = frame.flavour


def python_only(batch, state):
    return len(batch.headers())


def read_only_column(batch, state):
    batch.length[0] = 3


def bad_return(batch, state):
    if batch.count > 1000:
        return 0.25
    return 1.5


def unknown_name(batch, state):
    batch.verdict[0] = nowhere  # noqa: F821


@needs_numba
@pytest.mark.parametrize(
    ("body", "offset", "text"),
    [
        (unknown_attribute, 3, "flavour"),
        (python_only, 1, "headers"),
        (read_only_column, 1, "setitem(wirepath.View(uint32, 1, C, ro)"),
        (bad_return, 3, "float64"),
        (unknown_name, 1, "nowhere"),
    ],
)
def test_compile_errors_point_at_the_line(body, offset, text):
    with pytest.raises(wp.CompileError) as caught:
        wp.stage(compile="require")(body).bind()
    assert caught.value.filename == __file__
    assert caught.value.lineno == body.__code__.co_firstlineno + offset
    assert f'File "{__file__}", line {caught.value.lineno}' in str(caught.value)
    assert text in str(caught.value)


@needs_numba
def test_auto_falls_back_loudly():
    with pytest.warns(wp.StageWarning, match="runs as Python.*headers"):
        stage = wp.stage(python_only).bind()
    info = stage.info()
    assert info["mode"] == "python"
    assert f"line {python_only.__code__.co_firstlineno + 1}" in info["reason"]


def test_without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "wirepath._numba", None)
    monkeypatch.delattr(wp, "_numba", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stage = everything.bind(np.zeros(5, ROW))
    assert stage.info()["mode"] == "python"
    assert "wirepath[numba]" in stage.info()["reason"]
    with pytest.raises(wp.CompileError, match=r"pip install 'wirepath\[numba\]'"):
        everything.bind(np.zeros(5, ROW), compile="require")


def test_what_cannot_be_a_stage():
    with pytest.raises(wp.ConfigError, match="takes \\(batch, state\\)"):
        wp.stage(lambda batch: None)
    with pytest.raises(wp.ConfigError, match="plain function"):
        wp.stage(print)
    with pytest.raises(wp.ConfigError, match="compile = 'maybe'"):
        wp.stage(compile="maybe")(unknown_attribute)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ([1, 2], "NumPy array"),
        (np.zeros((4, 4), np.int64)[:, ::2], "contiguous"),
        (np.zeros(2, object), "Python objects"),
        (np.zeros(2, ">i8"), "byte order"),
        (np.frombuffer(b"12345678", np.int64), "read-only"),
        (np.zeros(17, np.uint8)[1:].view(np.int64), "aligned"),
    ],
)
def test_states_that_native_code_cannot_share(state, text):
    with pytest.raises(wp.ConfigError, match=text):
        everything.bind(state, compile="never")


def test_one_worker_per_stage():
    @wp.stage(compile="never")
    def nothing(batch, state):
        pass

    stage = nothing.bind()
    with wp.open("null:,queues=2", steer=wp.everything()) as port:
        first, second = wp.Worker("first"), wp.Worker("second")
        first.add_port(port, [0])
        second.add_port(port, [1])
        first.add_stage(stage)
        second.add_stage(stage)
        with first, pytest.raises(wp.DeviceBusy, match="stage of its own"):
            second.start()


# --- shared objects -----------------------------------------------------------------------------


def rust_compiler():
    """One that works: rustup's is there, and refuses, where no toolchain was chosen."""
    for folder in os.get_exec_path():
        compiler = shutil.which("rustc", path=folder)
        if (
            compiler
            and subprocess.run([compiler, "-V"], capture_output=True, check=False).returncode == 0
        ):
            return compiler
    return None


def built(folder, language):
    if language == "c":
        if (compiler := shutil.which("cc") or shutil.which("gcc")) is None:
            pytest.skip("no C compiler: apt install gcc")
        command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        command += ["-I", wp.include(), EXAMPLES / "native" / "count_ports.c"]
    elif language == "c++":
        if (compiler := shutil.which("c++")) is None:
            pytest.skip("no C++ compiler: apt install g++")
        source = folder / "stage.cc"
        source.write_text(
            "#include <wirepath/batch.h>\nWP_STAGE_ABI;\n"
            'extern "C" WP_EXPORT int count_ports(wp_batch* batch, void* state) {\n'
            "  for (uint32_t i = 0; i < batch->count; i++) {\n"
            "    const uint8_t* p = batch->data[i];\n"
            "    if (batch->length[i] < 42 || p[12] != 8 || p[13] != 0 || p[23] != 17) continue;\n"
            "    const uint32_t udp = 14 + (p[14] & 15u) * 4;\n"
            "    if (batch->length[i] < udp + 8) continue;\n"
            "    static_cast<int64_t*>(state)[p[udp + 2] << 8 | p[udp + 3]]++;\n  }\n"
            "  return 0;\n}\n"
        )
        command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        command += ["-I", wp.include(), source]
    else:
        if (compiler := rust_compiler()) is None:
            pytest.skip("no Rust compiler: apt install rustc")
        command = [compiler, "-O", "--crate-type", "cdylib", "-A", "non_upper_case_globals"]
        command += [EXAMPLES / "native" / "count_ports.rs"]
    path = folder / f"count_ports-{language}.so"
    done = subprocess.run([*command, "-o", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("language", ["c", "c++", "rust"])
def test_a_shared_object_is_a_stage(capture, tmp_path, language):
    library = built(tmp_path, language)
    path, _ = capture
    counts, expected = np.zeros(65536, np.int64), np.zeros(65536, np.int64)
    stage = wp.load_stage(library, "count_ports", state=counts)
    assert stage.info()["mode"] == f"shared object {library}"
    stats = run(f"pcap:{path}", stage)
    assert stats["frames"] == 300

    @wp.stage(compile="never")
    def count(batch, state):
        for i in range(batch.count):
            frame = batch.data[i]
            if len(frame) < 42 or wp.be16(frame, 12) != 0x0800 or frame[23] != 17:
                continue
            udp = 14 + (frame[14] & 15) * 4
            if len(frame) >= udp + 8:
                state[wp.be16(frame, udp + 2)] += 1

    run(f"pcap:{path}", count.bind(expected))
    assert counts.sum() > 200
    assert (counts == expected).all()
    if language != "c++":  # says how much state it needs
        with pytest.raises(wp.ConfigError, match="at least 524288"):
            wp.load_stage(library, "count_ports", state=counts[:10])
        with pytest.raises(wp.ConfigError, match="state of 0 bytes"):
            wp.load_stage(library, "count_ports")


def test_shared_objects_that_are_refused(tmp_path):
    compiler = shutil.which("cc") or pytest.skip("no C compiler: apt install gcc")

    def library(name, source):
        path = tmp_path / f"{name}.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", path],
            input=source,
            text=True,
            check=True,
        )
        return path

    stage = "int stage(void* batch, void* state) { return 0; }\n"
    with pytest.raises(wp.ConfigError, match="must export wp_stage_abi"):
        wp.load_stage(library("silent", stage), "stage")
    other = f"const unsigned wp_stage_abi = {BATCH_ABI + 1};\n"
    with pytest.raises(wp.ConfigError, match=f"batch ABI {BATCH_ABI + 1}"):
        wp.load_stage(library("other", other + stage), "stage")
    right = f"const unsigned wp_stage_abi = {BATCH_ABI};\n"
    with pytest.raises(wp.ConfigError, match="symbol = 'state' is not usable"):
        wp.load_stage(library("right", right + stage), "state")
    with pytest.raises(wp.ConfigError, match=r"nowhere\.so"):
        wp.load_stage(tmp_path / "nowhere.so", "stage")
    with pytest.raises(wp.ConfigError, match="has its state already"):
        wp.Worker("w").add_stage(
            wp.load_stage(library("fine", right + stage), "stage"), np.zeros(1)
        )
