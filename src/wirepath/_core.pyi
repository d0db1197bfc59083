"""Native core of wirepath. Import wirepath instead."""

from collections.abc import Mapping, Sequence
import enum
from typing import Annotated

import numpy
from numpy.typing import NDArray
from typing_extensions import CapsuleType

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any
import numpy as np
from numpy.typing import DTypeLike, NDArray
from .items import Items

_Buffer = bytes | bytearray | memoryview | NDArray[Any]

__version__: str

AF_XDP_MISSING: str

EF_VI_MISSING: str

DPDK_MISSING: str

PROGRAMS_MISSING: str

BATCH_ABI: int = 1

class Histogram:
    """
    Log-linear histogram of nanoseconds: 1 ns to 17 s, 128 steps in every power of two, so any
    quantile is within 0.4 % of a recorded value. HdrHistogram's layout for two digits.
    """

    def __init__(self) -> None: ...
    def record(self, value_ns: int, count: int = 1) -> None:
        """
        Add `count` samples of `value_ns`. Negative ones count as 0 and in `negative`, those
        past the range as the highest and in `overflow`.
        """

    def merge(self, other: Histogram) -> None:
        """Add every sample of another histogram."""

    def reset(self) -> None:
        """Forget every sample."""

    def copy(self) -> Histogram: ...
    def quantile(self, q: float) -> int:
        """Nanoseconds at quantile q, 0 to 1; 0 when empty."""

    @property
    def total(self) -> int: ...
    @property
    def min(self) -> int: ...
    @property
    def max(self) -> int: ...
    @property
    def mean(self) -> float: ...
    @property
    def negative(self) -> int: ...
    @property
    def overflow(self) -> int: ...
    def counts(self) -> NDArray[np.uint64]:
        """
        Samples in each bucket: ndarray of uint64, indexed as HdrHistogram's counts array.
        """

    @staticmethod
    def bucket_lows() -> NDArray[np.int64]:
        """Lowest value (ns) of each bucket: ndarray of int64."""

class CounterBlock:
    """
    Counters of this process's segment, named group/name, that Python writes.
    """

    def __init__(self, group: str, names: Sequence[str]) -> None: ...
    def set(self, values: Sequence[int]) -> None:
        """A value for each, in their order."""

    def release(self) -> None:
        """Take them out of the segment."""

def telemetry_name() -> str:
    """Name of this process's counter segment; empty where it is private."""

def telemetry_read(name: str = "") -> tuple[dict[str, int], dict[str, Histogram]]:
    """
    (counters, histograms) of a process: its own, or those of the segment `name`.
    """

class Ring:
    """
    Lock-free single-producer single-consumer ring of 64-byte records (dtype wirepath.RECORD)
    in shared memory.

    capacity: records, a power of two. policy: "block" makes the producer wait for room,
    "drop" throws the newest away and counts it. name: a ring that another process can
    attach to with Ring.attach(name).

    One producer and one consumer at a time, in whatever threads and processes: who pushes or
    pops while another one does gets DeviceBusy.
    """

    def __init__(self, capacity: int = 65536, policy: str = "block", name: str = "") -> None: ...
    @staticmethod
    def attach(name: str) -> Ring:
        """The ring that another process made under this name."""

    def pop_batch(self, max: int = 65536, timeout: float = 0.0) -> NDArray[np.void]:
        """
        Up to `max` records as a new structured array (a copy: it stays valid). Waits up to
        `timeout` seconds for the first; empty when none came or the ring is closed.
        """

    def try_pop(self) -> np.void | None:
        """The next record (a numpy.void of dtype RECORD) or None."""

    def push(self, records: NDArray[np.void]) -> int:
        """
        Push an array of RECORD; returns how many went in. Waits or drops by the policy.
        """

    def record_hand_over(self, histogram: Histogram) -> None:
        """
        Consumer: add the age (ns since the producer published it) of every record taken since
        the last call to `histogram`, one sample per record.
        """

    def close(self) -> None:
        """No more records will be pushed, or none will be taken."""

    @property
    def closed(self) -> bool: ...
    @property
    def capacity(self) -> int: ...
    def __len__(self) -> int: ...
    @property
    def pushed(self) -> int:
        """Records ever pushed."""

    @property
    def popped(self) -> int:
        """Records ever taken."""

    @property
    def dropped(self) -> int:
        """Records lost because the ring was full."""

    @property
    def blocked(self) -> int:
        """Times that the producer had to wait for room."""

    @property
    def high_water(self) -> int:
        """Most records seen waiting."""

    @property
    def name(self) -> str: ...
    @property
    def policy(self) -> str: ...

class Steering:
    """
    Which flows a port takes from the kernel. Made with udp(), tcp() and
    everything(); joined with |.
    """

    def __init__(self) -> None:
        """Nothing at all: what a port refuses to open with."""

    def __or__(self, arg: Steering, /) -> Steering: ...
    def __repr__(self) -> str: ...
    def __str__(self) -> str: ...
    @property
    def is_everything(self) -> bool: ...
    @property
    def flows(self) -> list[tuple[str, str, int]]:
        """List of (protocol, address or "*", port or 0)."""

def flow(protocol: str, address: str, port: int) -> Steering: ...
def steer_classify(steering: Steering, frame: object) -> str:
    """
    What the native build of the steering program says of a frame: "match", "pass" or
    "fragment" (which passes too).
    """

def everything() -> Steering:
    """
    Take every frame of the interface from the kernel: SSH over it stops working.
    """

class Frame:
    """Exporter of one frame's bytes; seen only as the .obj of a memoryview."""

class Frames:
    """Frames of a batch as arrays."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Items: ...

class Batch:
    """
    Up to batch_size frames of one burst as parallel arrays. Frames stay where the NIC put
    them: the batch is valid until released (the next loop step, the end of `with`, or
    release()); then every use of it, and of its memoryviews, raises ReleasedError or
    ValueError. A NumPy array or a slice that was made from a frame keeps that one frame out
    of the port's pool until it is gone.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> memoryview:
        """
        Frame `index` from its Ethernet header on: a memoryview, not a copy; writable unless
        port.capabilities says that frames are not.
        """

    @property
    def lengths(self) -> NDArray[np.uint32]:
        """Bytes of each frame: ndarray of uint32."""

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """
        When each frame arrived: ndarray of int64, ns since the Unix epoch; the port's info()
        names the source.
        """

    @property
    def hashes(self) -> NDArray[np.uint32]:
        """Flow hash of each frame, 0 = not computed: ndarray of uint32."""

    @property
    def verdicts(self) -> NDArray[np.uint8]:
        """Verdict of each frame: writable ndarray of uint8 (wirepath.Verdict)."""

    @verdicts.setter
    def verdicts(self, values: int | NDArray[Any]) -> None: ...
    @property
    def count(self) -> int:
        """Frames in this batch."""

    @property
    def data(self) -> Frames:
        """
        data[i]: frame i from its Ethernet header on, a writable array of uint8.
        """

    @property
    def length(self) -> Items:
        """As lengths; an item is an int."""

    @property
    def timestamp(self) -> Items:
        """As timestamps; an item is an int."""

    @property
    def hash(self) -> Items:
        """As hashes; an item is an int."""

    @property
    def verdict(self) -> Items:
        """As verdicts; an item is an int."""

    @property
    def target(self) -> Items:
        """For REDIRECT: number of the port within the worker; writable."""

    @property
    def port(self) -> int:
        """Number of the port within its worker."""

    @property
    def queue(self) -> int:
        """Receive queue that the burst came from."""

    @property
    def released(self) -> bool: ...
    def headers(self) -> NDArray[np.void]:
        """
        Ethernet, VLAN, IP and UDP/TCP fields of every frame, parsed natively: structured
        array of dtype wirepath.HEADERS, one row a frame; what a frame has not is 0.
        """

    def column(self, offset: int, dtype: DTypeLike, of: str = "frame") -> NDArray[Any]:
        """
        The `dtype` value at byte `offset` of every frame (or of every UDP/TCP payload),
        gathered natively into a new ndarray; 0 where a frame is too short.
        """

    def copy(self) -> Batch:
        """The same frames in memory of their own, valid for ever."""

    def release(self) -> None:
        """Give the frames back to the port now."""

    def __enter__(self) -> Batch: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __repr__(self) -> str: ...

class PortIterator:
    def __iter__(self) -> PortIterator: ...
    def __next__(self) -> Batch: ...

class PortHandle:
    """A native port; wirepath.Port wraps it."""

    @staticmethod
    def open(
        spec: str, steering: Steering, options: Mapping[str, str], batch_size: int, spin: bool
    ) -> PortHandle: ...
    def batches(self, idle_us: int = -1) -> PortIterator: ...
    def poll(self, timeout_us: int) -> Batch | None: ...
    def tx(self, batch: Batch, queue: int = 0) -> int: ...
    def send(self, frames: Sequence[_Buffer], queue: int = 0) -> int: ...
    def divert(self, share: int, named: Steering = ...) -> None:
        """
        Take this share of the flows, in 65536ths, and all to the destinations named.
        """

    def close(self) -> None: ...
    def info(self) -> dict[str, Any]: ...
    def stats(self) -> dict[str, int]: ...
    def capabilities(self) -> dict[str, bool | int]: ...
    def fd(self, queue: int = 0) -> int: ...
    @property
    def closed(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def held(self) -> int: ...
    @property
    def queues(self) -> int: ...
    @property
    def spec(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def steering(self) -> Steering: ...

def register_backend(backend: CapsuleType) -> None:
    """Take a backend from the capsule of an extension module."""

def loaded_backends() -> dict[str, Any]: ...
def parse_port_spec(spec: str) -> tuple[str, str, dict[str, str]]:
    """(backend, device, options) of a port spec."""

class Stage:
    """A native stage; see wirepath.Worker.add_stage."""

    @property
    def name(self) -> str: ...

class CStage(Stage):
    """
    A stage behind the C ABI: `function` is the address of an
    int f(struct wp_batch*, void*), `state` what it gets (batch.h).
    `keep` lives as long as the stage.
    """

    def __init__(
        self, name: str, function: int, state: int = 0, keep: object | None = None
    ) -> None: ...

class KeptException:
    """Where compiled code leaves its exception."""

    def __init__(self) -> None: ...
    @property
    def address(self) -> int: ...

class CompiledStage(CStage):
    """
    A CStage whose function may return RAISED, after it called
    KEEP_EXCEPTION(kept.address) while a Python exception is set.
    """

    def __init__(
        self, name: str, function: int, state: int, keep: object | None, kept: KeptException
    ) -> None: ...

class PyStage(Stage):
    """A Python function that a worker calls once a batch, with the GIL."""

    def __init__(self, name: str, function: object, state: object | None) -> None: ...

RAISED: int

MAX_CODE: int

KEEP_EXCEPTION: int

BATCH_LAYOUT: dict[str, int]

class HeldFrame:
    """
    A frame that the consumer of a HandOff has: use it, then release() it, or
    `with frame as view:`. An array made from its memoryview keeps it held.
    """

    @property
    def view(self) -> memoryview:
        """
        Its bytes from the Ethernet header on, a memoryview: the port's own buffer where
        by_reference, then writable unless port.capabilities says that frames are not.
        Raises ReleasedError once released.
        """

    def release(self) -> None:
        """Give it back; from then on its views raise. Any thread."""

    @property
    def released(self) -> bool: ...
    def __len__(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """When it arrived, ns since the Unix epoch; source: the port's info()."""

    @property
    def hash(self) -> int: ...
    @property
    def port(self) -> int:
        """Number of the port within its worker."""

    @property
    def queue(self) -> int: ...
    @property
    def by_reference(self) -> bool:
        """False: it was short, and copied."""

    def __enter__(self) -> memoryview: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

class HandOff(Stage):
    """
    The last stage of a worker, which hands frames to a consumer in another thread: those of
    at least `zero_copy_threshold` bytes by reference (verdict KEEP), shorter ones copied.

    zero_copy_threshold: bytes, 0 to 65536. capacity: frames that may be out at a time, waiting or with
    the consumer, 1 to 1048576. max_held: of them by reference; None = capacity, or three
    quarters of the port's buffers where that is less; more than those is refused when the
    worker starts. What finds no room is dropped and counted. take: "all" frames that no
    stage before gave a verdict, or those it "kept" (verdict KEEP).
    """

    def __init__(
        self,
        zero_copy_threshold: int = 64,
        capacity: int = 4096,
        max_held: int | None = None,
        take: str = "all",
        name: str = "hand_off",
    ) -> None: ...
    def pop(self, timeout: float = 0.0) -> HeldFrame | None:
        """
        The next frame, waiting up to `timeout` seconds; None when none came, or the worker
        has ended and all were taken.
        """

    def pop_batch(self, max: int = 64, timeout: float = 0.0) -> list[HeldFrame]:
        """
        Up to `max` frames that are there, waiting up to `timeout` seconds for the first.
        """

    def close(self) -> None:
        """Release every frame that waits."""

    def __len__(self) -> int:
        """Frames that wait for the consumer."""

    @property
    def ended(self) -> bool:
        """The worker has ended: no more frames will come."""

    @property
    def max_held(self) -> int:
        """Bound in force, known once the worker started."""

    @property
    def zero_copy_threshold(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    def stats(self) -> dict[str, int]:
        """
        frames = by_reference + copied + drop.queue_full + drop.held_full + drop.not_owned;
        held: by reference and not given back yet.
        """

def open_host_port(
    name: str, mac: bytes = ..., mtu: int = 0, queues: int = 1, batch_size: int = 64
) -> PortHandle:
    """A TAP device of this name as a port; a new one is gone with it."""

def set_host_carrier(port: PortHandle, up: bool) -> None:
    """Whether the kernel sees a link at such a port."""

def host_interface(port: PortHandle) -> int:
    """The kernel's number of the device of such a port."""

class Worker:
    """
    One thread that polls ports, runs stages over each batch and carries the
    verdicts out, without the GIL.
    """

    def __init__(
        self,
        name: str = "worker",
        cpu_core: int | None = None,
        batch_size: int = 64,
        spin: bool = False,
        poll_timeout_us: int = 100,
    ) -> None: ...
    def add_port(self, port: PortHandle, queues: Sequence[int] = []) -> int: ...
    def add_host(self, number: int, host: PortHandle, queues: Sequence[int] = []) -> int:
        """What stands for port `number` in the host's own stack."""

    def add_stage(self, stage: Stage) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None:
        """Ask it to stop; returns at once."""

    def join(self) -> None:
        """Wait for its end; raises the first error that stopped it."""

    @property
    def running(self) -> bool: ...
    @property
    def affinity(self) -> int:
        """Core that it is pinned to, as read back; -1 = none."""

    def abandon(self) -> None:
        """
        Stop it, have its stages wait for nobody, and wait for its end; raises nothing.
        """

    @property
    def queues(self) -> list[tuple[str, int]]:
        """(port spec, queue) of each that it polls."""

    @property
    def stage_names(self) -> list[str]:
        """Of its stages, in order."""

    @property
    def addresses(self) -> tuple[int, int]:
        """
        Where the batch's arrays are, and the latest burst's first frame (0: none yet); to ask
        the kernel for their NUMA node, not to be read.
        """

    def stats(self) -> dict[str, int]: ...

class Itch50Decoder:
    """Native ITCH 5.0 decoder; see wirepath.feed.Itch50."""

    def __init__(self) -> None: ...
    def decode(
        self,
        message: _Buffer,
        out: NDArray[np.void],
        seq: int = 0,
        recv_time: int = 0,
        midnight_ns: int = 0,
        channel: int = 0,
    ) -> str: ...
    def decode_frames(
        self,
        data: _Buffer,
        offset: int,
        out: NDArray[np.void],
        seq: int,
        recv_time: int,
        midnight_ns: int,
        channel: int,
        last: bool,
    ) -> tuple[int, int, int]:
        """Returns (records written, bytes consumed, next sequence number)."""

    @property
    def end(self) -> str: ...
    @property
    def counters(self) -> dict[str, Any]: ...
    def reset_counters(self) -> None: ...

class Itch50Columns:
    """Native raw ITCH 5.0 columns; see wirepath.feed.Itch50Columns."""

    def __init__(self, types: str = "") -> None: ...
    def append(self, message: _Buffer, seq: int = 0, recv_time: int = 0) -> str: ...
    def append_frames(
        self, data: _Buffer, seq: int = 1, recv_time: int = 0, last: bool = True
    ) -> tuple[int, int]: ...
    def rows(self, arg: str, /) -> int: ...
    def take(self, type: str, dtype: DTypeLike) -> NDArray[np.void]: ...
    @property
    def end(self) -> str: ...
    @property
    def counters(self) -> dict[str, Any]: ...

def itch50_layouts() -> dict[str, tuple[str, int, list[tuple[str, str, int, str]]]]:
    """
    Raw column layout by message type: (name, row bytes, [(column, format, offset, unit)]).
    """

class Books:
    """Native order books; see wirepath.feed.Books."""

    def __init__(
        self,
        orders: int,
        max_orders: int,
        instruments: int,
        offences: int,
        depth: int,
        implied_depth: int,
    ) -> None: ...
    def apply(self, records: NDArray[np.void], bbo: bool) -> NDArray[np.void]: ...
    def depth(self, instrument: int, side: str, levels: int) -> NDArray[np.void]: ...
    def implied(self, instrument: int, side: str) -> NDArray[np.void]: ...
    def orders(self, instrument: int, side: str) -> NDArray[np.void]: ...
    def best(self, instrument: int) -> NDArray[np.void]: ...
    def consistent(self, instrument: int) -> bool: ...
    def events(self, instrument: int) -> int: ...
    def state(self, instrument: int) -> int: ...
    def phase(self, instrument: int) -> int: ...
    def set_depth(self, instrument: int, depth: int, implied: int) -> None: ...
    def set_group(self, instrument: int, group: int) -> None: ...
    def offences(self) -> NDArray[np.void]: ...
    def instruments(self) -> list[int]: ...
    def order_count(self) -> int: ...
    def clear(self, instrument: int | None = None) -> None: ...
    @property
    def counters(self) -> dict[str, int]: ...

class Arbiter:
    """Native arbiter; see wirepath.feed.Arbiter."""

    @staticmethod
    def make(
        framer: str,
        *,
        lines: int,
        recovery_lines: int,
        units: int,
        in_order: bool,
        hold_ns: int,
        hold_messages: int,
        hold_bytes: int,
        max_gaps: int,
        session: bytes,
        pin_session: bool,
        next_sequence: int,
        resumed: bool,
        session_begin: int,
        await_snapshot: bool,
        reorder_messages: int,
        reorder_ns: int,
        restart_packets: int,
        max_jump: int,
        skew_packets: int,
    ) -> Arbiter: ...
    def on_packet(self, line: int, packet: _Buffer, recv_time: int) -> list[Any]: ...
    def skip_to(self, next_sequence: int, now: int, unit: int) -> list[Any]: ...
    def on_time(self, now: int) -> list[Any]: ...
    @property
    def deadline(self) -> int | None: ...
    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def units(self) -> list[dict[str, Any]]: ...
    @property
    def lines(self) -> list[dict[str, int]]: ...
    def behind(self, line: int) -> Histogram: ...
    def skew(self, a: int, b: int, q: float) -> int: ...

class Recovery:
    """Native recovery; see wirepath.feed.Recovery."""

    def __init__(
        self, venue: str, source_id: str, product_id: int, channel_id: int, options: dict[str, int]
    ) -> None: ...
    def poll(self, arbiter: Arbiter, now: int) -> tuple[list[Any], list[Any]]: ...
    def refuse(self, first: int, last: int, unit: int) -> None: ...
    def pause(self, until: int) -> None: ...
    def resume(self, requests_in_day: int, now: int) -> None: ...
    def requests_in_day(self, now: int) -> int: ...
    @property
    def deadline(self) -> int | None: ...
    @property
    def counters(self) -> dict[str, int]: ...

class SbePlan:
    """The native decode plan of an SBE schema."""

    def __init__(self, words: _Buffer) -> None: ...
    @property
    def version(self) -> int: ...

class SbeColumns:
    """Native SBE columns; see wirepath.feed.SbeDecoder."""

    def __init__(self, plan: SbePlan, templates: Sequence[int] = []) -> None: ...
    def append(
        self, message: _Buffer, seq: int = 0, recv_time: int = 0, send_time: int = 0
    ) -> str: ...
    def append_many(self, data: _Buffer, lengths: _Buffer, seq: int, recv_time: int) -> int: ...
    def append_packets(self, data: _Buffer, lengths: _Buffer, recv_times: _Buffer) -> None: ...
    def append_batch(self, batch: Batch) -> None: ...
    def rows(self, block: int) -> int: ...
    def take(self, block: int, dtype: DTypeLike) -> NDArray[np.void]:
        """A copy of a block's rows."""

    def heap(self, message: int, dtype: DTypeLike) -> NDArray[np.uint8]: ...
    def clear(self, message: int) -> None: ...
    @property
    def counters(self) -> dict[str, Any]: ...

class CmeMdp3:
    """Native CME MDP 3.0 decoder; see wirepath.feed.Mdp3."""

    def __init__(self, plan: SbePlan, map: _Buffer, channel: int = 0) -> None: ...
    def packets(self, data: _Buffer, lengths: _Buffer, recv_times: _Buffer) -> NDArray[np.void]: ...
    def packets_into(
        self, data: _Buffer, lengths: _Buffer, recv_times: _Buffer, out: _Buffer
    ) -> tuple[int, int]:
        """Returns (records written, packets taken in)."""

    def batch(self, batch: Batch) -> NDArray[np.void]: ...
    def message(self, message: _Buffer, seq: int, recv_time: int) -> NDArray[np.void]: ...
    @property
    def counters(self) -> dict[str, Any]: ...

class SoupBinTCP:
    """
    A client's SoupBinTCP session without I/O: bytes and time in, events and bytes to send out
    (Nasdaq SoupBinTCP 3.00). One object serves any number of connections: each goes on where
    the last one stopped.

    session: the one to log in to, "" = the current one. next_sequence: first message wanted,
    0 = only what is new. A server silent for timeout_ns, or that leaves a login unanswered
    for so long, is dead. Times are ns on any clock. Raises ConfigError.
    """

    def __init__(
        self,
        username: str = "",
        password: str = "",
        session: str = "",
        next_sequence: int = 1,
        heartbeat_ns: int = 1000000000,
        timeout_ns: int = 15000000000,
    ) -> None: ...
    def connected(self, now: int) -> None:
        """A connection stands: output() holds the login request."""

    def disconnected(self) -> None:
        """The connection ended, by either side."""

    def on_bytes(self, data: _Buffer, now: int) -> list[Any]:
        """
        What was read, cut anywhere; returns the list of events (wirepath.feed.events).
        Unsequenced messages have sequence number 0.
        """

    def on_time(self, now: int) -> list[Any]:
        """
        Puts a heartbeat that is due into output(); ConnectionLost when the server is dead.
        """

    def logout(self, now: int) -> None: ...
    def output(self) -> bytes:
        """
        Takes the bytes that are to be written to the connection now, b"" = none.
        """

    @property
    def deadline(self) -> int | None:
        """When on_time is due next, ns; None = never."""

    @property
    def state(self) -> str:
        """idle, login, open, rejected, ended or dead."""

    @property
    def session(self) -> str: ...
    @property
    def next_sequence(self) -> int:
        """Number of the next message that has not come; 0: not known yet."""

    @property
    def counters(self) -> dict[str, int]: ...

class CmeRecovery:
    """Native CME snapshot recovery; see wirepath.feed.CmeRecovery."""

    def __init__(
        self, plan: SbePlan, map: _Buffer, channel: int, held_records: int, instruments: int
    ) -> None: ...
    def packet(self, payload: _Buffer, recv_time: int) -> NDArray[np.void]: ...
    def snapshot(self, payload: _Buffer, recv_time: int) -> NDArray[np.void]: ...
    def reset(self) -> NDArray[np.void]: ...
    def state(self, instrument: int, of: str) -> str: ...
    @property
    def stale(self) -> list[int]: ...
    @property
    def wanting(self) -> bool: ...
    @property
    def counters(self) -> dict[str, int]: ...

class ItchGenerator:
    """A believable ITCH 5.0 day from a seed; see wirepath.publish."""

    def __init__(
        self,
        seed: int = 1,
        messages: int = 1000000,
        symbols: int = 500,
        start_ns: int = 14400000000000,
        end_ns: int = 72000000000000,
        burst: int = 50,
    ) -> None: ...
    def generate(self, out: bytearray | memoryview | NDArray[Any]) -> int:
        """
        Fill a writable buffer with whole length-prefixed messages; returns the bytes written,
        0 at the end of the day.
        """

    @property
    def done(self) -> bool: ...
    @property
    def written(self) -> int: ...
    @property
    def by_type(self) -> dict[str, int]: ...

class MessageSource:
    pass

class PacketList:
    """Packets to be sent as they are."""

    def __init__(self) -> None: ...
    def add(self, time: int, payload: _Buffer) -> None: ...
    def __len__(self) -> int: ...

def generated_source(
    seed: int = 1,
    messages: int = 1000000,
    symbols: int = 500,
    start_ns: int = 14400000000000,
    end_ns: int = 72000000000000,
    burst: int = 50,
) -> MessageSource: ...
def itch_file_source(path: str) -> MessageSource: ...

class Publisher:
    """Native publisher; see wirepath.publish."""

    def __init__(
        self, port: PortHandle, source: MessageSource | PacketList, options: dict[str, Any]
    ) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self) -> None: ...
    @property
    def running(self) -> bool: ...
    @property
    def packets(self) -> int: ...
    @property
    def messages(self) -> int: ...
    @property
    def published(self) -> int: ...
    def stats(self) -> dict[str, int]: ...
    def line_stats(self) -> list[dict[str, int]]: ...
    def lost(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """
        What each line lost on purpose, and what all of them lost; once it has ended.
        """

    def send_lateness(self) -> Histogram: ...

class RetransmitServer:
    """Native server; see wirepath.publish."""

    def __init__(self, publisher: Publisher, options: dict[str, Any]) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def port(self) -> int: ...
    def stats(self) -> dict[str, int]: ...

class SoupServer:
    """Native server; see wirepath.publish."""

    def __init__(self, publisher: Publisher, options: dict[str, Any]) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def port(self) -> int: ...
    @property
    def clients(self) -> int: ...
    def stats(self) -> dict[str, int]: ...

class SymbolTable:
    """
    Numbers of instruments of venues that send symbols only: 1, 2, … in order of appearance.

    capacity: how many symbols get one, 1 to 16,777,216; those that come later have number 0.
    """

    def __init__(self, capacity: int = 16384) -> None: ...
    def intern(self, symbol: str) -> int:
        """
        The number of a symbol, a new one if it has none; 0: the table is full. In the same order before a session, symbols have the same numbers every day.
        """

    def number(self, symbol: str) -> int:
        """The number of a symbol, 0 if it has none."""

    @property
    def symbols(self) -> list[str]:
        """The symbols by number; the first has number 1."""

    @property
    def capacity(self) -> int: ...
    @property
    def refused(self) -> int:
        """Messages whose symbol got no number because the table was full."""

    def __len__(self) -> int: ...

class IexTp:
    """
    An IEX-TP line without I/O: segments in, events out (IEX Transport Specification 1.26).

    next_sequence: first message wanted, 0 begins with the first segment. max_gaps: open gaps
    remembered.
    """

    def __init__(self, next_sequence: int = 0, max_gaps: int = 64) -> None: ...
    def on_packet(self, packet: _Buffer, recv_time: int = 0) -> list[Any]:
        """
        One UDP payload; returns the list of events (wirepath.feed.events) that it caused.
        """

    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: list of (first, last), both inclusive."""

class PitchUnits:
    """
    A line of Cboe sequenced units without I/O: datagrams in, events out, each unit a
    sequence of its own (Cboe Multicast PITCH 2.41).

    next_sequence: first message wanted of each unit, 0 begins with its first packet. max_gaps:
    open gaps remembered per unit.
    """

    def __init__(self, next_sequence: int = 0, max_gaps: int = 64) -> None: ...
    def on_packet(self, packet: _Buffer, recv_time: int = 0) -> list[Any]:
        """
        One UDP payload; returns the list of events (wirepath.feed.events) that it caused.
        """

    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: list of (first, last), both inclusive."""

class Pillar:
    """
    A line of NYSE XDP / Pillar packets without I/O: packets in, events out; messages keep
    their header of size and type (NYSE XDP / Pillar common client specification 2.4).

    next_sequence: first message wanted, 0 begins with the first packet. max_gaps: open gaps
    remembered.
    """

    def __init__(self, next_sequence: int = 0, max_gaps: int = 64) -> None: ...
    def on_packet(self, packet: _Buffer, recv_time: int = 0) -> list[Any]:
        """
        One UDP payload; returns the list of events (wirepath.feed.events) that it caused.
        """

    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: list of (first, last), both inclusive."""

class IexReader:
    def __init__(
        self, symbols: SymbolTable, next_sequence: int, max_gaps: int, channel: int
    ) -> None: ...
    def decode(
        self, message: _Buffer, seq: int, recv_time: int, unit: int, flags: int, dtype: DTypeLike
    ) -> NDArray[np.void]: ...
    @property
    def message_counters(self) -> dict[str, Any]: ...
    def read(self, packet: _Buffer, recv_time: int, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_batch(self, batch: Batch, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_into(
        self,
        data: _Buffer,
        offsets: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        recv_times: NDArray[np.int64] | None,
        recv_time: int,
        begin: int,
        out: NDArray[Any],
    ) -> tuple[int, int]:
        """Returns (items written, next datagram)."""

    @property
    def not_udp(self) -> int: ...
    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: list of (first, last), both inclusive."""

class PitchReader:
    def __init__(
        self,
        symbols: SymbolTable,
        next_sequence: int,
        max_gaps: int,
        channel: int,
        midnight_ns: int,
    ) -> None: ...
    def decode(
        self, message: _Buffer, seq: int, recv_time: int, unit: int, flags: int, dtype: DTypeLike
    ) -> NDArray[np.void]: ...
    @property
    def message_counters(self) -> dict[str, Any]: ...
    def read(self, packet: _Buffer, recv_time: int, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_batch(self, batch: Batch, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_into(
        self,
        data: _Buffer,
        offsets: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        recv_times: NDArray[np.int64] | None,
        recv_time: int,
        begin: int,
        out: NDArray[Any],
    ) -> tuple[int, int]:
        """Returns (items written, next datagram)."""

    @property
    def not_udp(self) -> int: ...
    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: list of (first, last), both inclusive."""

class IexColumnReader:
    def __init__(self, types: _Buffer, next_sequence: int, max_gaps: int) -> None: ...
    def append(
        self, message: _Buffer, seq: int, recv_time: int, send_time: int, unit: int
    ) -> bool: ...
    def rows(self, type: int) -> int: ...
    def take(self, type: int, dtype: DTypeLike) -> NDArray[np.void]: ...
    @property
    def message_counters(self) -> dict[str, Any]: ...
    def read(self, packet: _Buffer, recv_time: int, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_batch(self, batch: Batch, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_into(
        self,
        data: _Buffer,
        offsets: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        recv_times: NDArray[np.int64] | None,
        recv_time: int,
        begin: int,
        out: NDArray[Any],
    ) -> tuple[int, int]:
        """Returns (items written, next datagram)."""

    @property
    def not_udp(self) -> int: ...
    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: list of (first, last), both inclusive."""

class PitchColumnReader:
    def __init__(
        self, types: _Buffer, next_sequence: int, max_gaps: int, midnight_ns: int
    ) -> None: ...
    def append(
        self, message: _Buffer, seq: int, recv_time: int, send_time: int, unit: int
    ) -> bool: ...
    def rows(self, type: int) -> int: ...
    def take(self, type: int, dtype: DTypeLike) -> NDArray[np.void]: ...
    @property
    def message_counters(self) -> dict[str, Any]: ...
    def read(self, packet: _Buffer, recv_time: int, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_batch(self, batch: Batch, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_into(
        self,
        data: _Buffer,
        offsets: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        recv_times: NDArray[np.int64] | None,
        recv_time: int,
        begin: int,
        out: NDArray[Any],
    ) -> tuple[int, int]:
        """Returns (items written, next datagram)."""

    @property
    def not_udp(self) -> int: ...
    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: list of (first, last), both inclusive."""

class RawReader:
    def __init__(
        self,
        header: int,
        row: int,
        sequence_at: int,
        sequence_width: int,
        big_endian: bool,
        next_sequence: int,
        max_gaps: int,
    ) -> None: ...
    def read(self, packet: _Buffer, recv_time: int, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_batch(self, batch: Batch, dtype: DTypeLike) -> NDArray[np.void]: ...
    def read_into(
        self,
        data: _Buffer,
        offsets: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        recv_times: NDArray[np.int64] | None,
        recv_time: int,
        begin: int,
        out: NDArray[Any],
    ) -> tuple[int, int]:
        """Returns (items written, next datagram)."""

    @property
    def not_udp(self) -> int: ...
    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def session(self) -> str: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    def next_sequence(self, unit: int = 0) -> int:
        """Number of the next message of a unit; 0: none seen."""

    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        """Open gaps of a unit: list of (first, last), both inclusive."""

def iex_segment_header(packet: _Buffer) -> tuple[int, int, int, int, int, int, int, int] | None:
    """The fields of an IEX-TP header in order, or None."""

def iex_layouts() -> dict[
    str, tuple[str, list[int], int, list[tuple[str, str, int, str]], list[dict[str, Any]]]
]:
    """
    By type: (name, lengths, row bytes, [(column, format, offset, unit)], [record map]).
    """

def pitch_layouts() -> dict[
    int, tuple[str, list[int], int, list[tuple[str, str, int, str]], list[dict[str, Any]]]
]:
    """
    By type: (name, lengths, row bytes, [(column, format, offset, unit)], [record map]).
    """

class LineReader:
    """Native reader of captures; see wirepath.feed.LineReader."""

    @staticmethod
    def make(
        protocol: str,
        *,
        columns: bool,
        types: bytes,
        symbols: SymbolTable,
        midnight_ns: int,
        channel: int,
        arbiter: dict[str, Any],
    ) -> LineReader: ...
    def on_batch(self, batch: Batch) -> None: ...
    def flush(self) -> None: ...
    @property
    def pending(self) -> int: ...
    def take_records(self, dtype: DTypeLike) -> NDArray[np.void]: ...
    def rows(self, type: int) -> int: ...
    def copy_rows(self, type: int, dtype: DTypeLike) -> NDArray[np.void]: ...
    def copy_packets(
        self, bytes: DTypeLike, u4: DTypeLike, i8: DTypeLike
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.int64]]: ...
    def clear(self) -> None: ...
    @property
    def counters(self) -> dict[str, int]: ...
    @property
    def messages(self) -> dict[str, Any]: ...
    @property
    def lines(self) -> list[dict[str, Any]]: ...
    @property
    def channels(self) -> list[dict[str, Any]]: ...
    @property
    def abandoned(self) -> list[tuple[int, int, int, int, str]]: ...

class FeedChannel:
    """Native channel of a feed; see wirepath.feed.make_channel."""

    @staticmethod
    def make(
        protocol: str,
        *,
        name: str,
        channel: int = 0,
        lines: Sequence[Steering],
        recovery_lines: Sequence[Steering] = ...,
        midnight_ns: int = 0,
        arbiter: dict[str, Any] = ...,
        recovery: str = "",
        recovery_options: dict[str, Any] = ...,
        instruments: Sequence[int] | None = None,
        symbols: Sequence[str] | None = None,
        types: Sequence[int] | None = None,
        schema: tuple[SbePlan, bytes] | None = None,
        symbol_table: SymbolTable | None = None,
        messages: Sequence[tuple[int, int, int]] = ...,
        message_bytes: int = 16777216,
    ) -> FeedChannel: ...
    @property
    def name(self) -> str: ...
    def requests(self, max: int = 64) -> list[Any]:
        """What recovery wants sent to the venue's server, oldest first."""

    def reply(self, packet: _Buffer, recv_time: int) -> bool:
        """A datagram of the venue's server. False: no room for it, counted."""

    def refuse(self, first: int, last: int, unit: int = 0) -> None:
        """The server will not send these: given up."""

    def pause(self, until: int) -> None:
        """
        No requests before `until`, ns since the Unix epoch: the server counts too many, or what
        is missing comes otherwise. 0: requests again.
        """

    def hold(self, until: int) -> None:
        """
        A snapshot is under way: until that time, ns since the Unix epoch, what is missing is
        neither asked for nor given up, whatever its age. 0: again from now on.
        """

    def skip_to(self, next_sequence: int, unit: int = 0) -> None:
        """
        A snapshot has everything before this number: what is missing of it is given up as
        "snapshot", what is held of it dropped, and the sequence goes on from there.
        """

    def inject(self, message: _Buffer, seq: int, recv_time: int, unit: int = 0) -> bool:
        """
        A message of a snapshot: filtered, decoded and put into the ring with the flag
        RECOVERED, outside the sequence. False: no room for it, counted.
        """

    def take_rows(self) -> dict[int, bytes]:
        """
        Rows of the declared messages that wait, packed, by type; one thread at a time.
        """

    def snapshot(self) -> dict[str, Any]:
        """Counters and state as of a moment ago; exact once the worker stopped."""

    def behind(self, line: int) -> Histogram:
        """ns by which the line's packets came after another's with the same."""

class MoldUDP64:
    """
    A MoldUDP64 session without I/O: datagrams in, events out (Nasdaq MoldUDP64 1.00).

    session: the one to accept, "" adopts the first packet's and follows changes.
    next_sequence: first message wanted, 0 begins with the first packet.
    """

    def __init__(self, session: str = "", next_sequence: int = 0) -> None: ...
    def on_packet(self, packet: _Buffer, recv_time: int = 0) -> list[Any]:
        """
        One UDP payload; returns the list of events (wirepath.feed.events) that it caused.
        """

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Open gaps: list of (first, last), both inclusive."""

    @property
    def next_sequence(self) -> int: ...
    @property
    def session(self) -> str: ...
    @property
    def ended(self) -> bool: ...
    @property
    def missing(self) -> int:
        """Messages known to exist and not received."""

    @property
    def counters(self) -> dict[str, Any]: ...

class FeedStage(Stage):
    """
    UDP frames -> channels -> records in a Ring, as a stage of a Worker.

    channels: each in one stage only. latency: the frames' timestamps are of now, so fill the
    histograms; False for a capture's, at whose end what is held is delivered. books: every
    record is applied to them before it is published.

    Raises ConfigError for a flow that two lines have, DeviceBusy for a channel that another
    stage has.
    """

    def __init__(
        self,
        ring: Ring,
        channels: Sequence[FeedChannel],
        name: str = "feed",
        latency: bool = True,
        books: Books | None = None,
    ) -> None: ...
    def snapshot(self) -> dict[str, Any]:
        """
        ``frames``, ``other_flow``, ``not_udp``, ``delivered``, ``ring_full``, ``ended`` (all
        channels are) and ``channels`` (FeedChannel.snapshot of each), as of a moment ago;
        exact once the worker stopped.
        """

    @property
    def messages(self) -> int:
        """Records pushed so far."""

    @property
    def packets(self) -> int:
        """Frames seen so far."""

    def wire_to_ring(self) -> Histogram:
        """
        Histogram of ns from the receive timestamp to the ring, one sample per record.
        """

    def wire_to_book(self) -> Histogram:
        """
        Histogram of ns from the receive timestamp until the books know, one sample per record;
        empty without books.
        """

class LoadSender:
    """Open-loop load from a port; see wirepath.bench."""

    def __init__(self, port: PortHandle, options: dict[str, Any]) -> None: ...
    def start(
        self,
        due: NDArray[np.int64],
        size: NDArray[np.uint32],
        period: int,
        count: int,
        run: int,
        start: int,
    ) -> None:
        """
        Send `count` packets: `due` (int64, ns) and `size` (uint32, bytes of the frame) of a
        cycle that begins anew every `period` ns, from `start` on CLOCK_MONOTONIC on.
        """

    def stop(self) -> None: ...
    def join(self) -> None: ...
    @property
    def running(self) -> bool: ...
    @property
    def smallest_frame(self) -> int: ...
    @property
    def largest_frame(self) -> int: ...
    def result(self) -> dict[str, Any]:
        """What became of the latest plan, after join()."""

class LatencyMeter(Stage):
    """Stage that measures what a LoadSender sent; see wirepath.bench."""

    def __init__(self) -> None: ...
    def begin(
        self,
        run: int,
        count: int,
        start: int = 0,
        bin_ns: int = 100000000,
        bins: int = 0,
        stall_ns: int = 0,
        stall_after_ns: int = 0,
    ) -> None: ...
    @property
    def received(self) -> int: ...
    def result(self) -> dict[str, Any]:
        """What was kept of the run."""

class PerfCounters:
    """
    perf_event_open: of this process and the threads it starts from now
    on.
    """

    def __init__(self) -> None: ...
    def read(self) -> dict[str, dict[str, Any]]:
        """
        {event: {value, share, with_kernel, reason}}; value None where it cannot be had.
        """

class SwitchCount(enum.Enum):
    """Counters of a switch that the control thread writes."""

    TRANSITIONS = 0

    FALL_BACKS = 1

    RETURNS = 2

    REFUSALS = 3

    CHANGES = 4

    TROUBLES = 5

class SwitchControl:
    """Paths of an open `auto` port; wirepath.switching decides about them."""

    def __init__(self, port: PortHandle) -> None: ...
    def add(self, path: PortHandle, name: str, kernel: bool) -> int:
        """Poll this port too from now on; its number."""

    def rest(self, path: int, resting: bool, first: int = -1) -> None:
        """
        Look at it only now and then; read the path `first` empty before the others.
        """

    def take_away(self, path: int) -> None:
        """Poll it no more."""

    def gone(self, path: int) -> bool:
        """Whoever drives the port knows, and nobody holds a frame of it."""

    def forget(self, path: int) -> None:
        """Keep its counters and let go of it; once gone()."""

    def paths(self) -> list[dict[str, Any]]:
        """What each path has delivered, and what of it is still out."""

    def polls(self) -> int: ...
    def claimed(self) -> bool: ...
    def delivered(self) -> dict[str, int]: ...
    def count(self, what: SwitchCount, n: int = 1) -> None: ...
    def set_share(self, basis_points: int) -> None: ...

def flow_hash(frame: bytes | bytearray | memoryview) -> int:
    """
    Hash of an Ethernet frame's flow: its lower 16 bits stand against a share in 65536ths.
    """

class FrameSource:
    """Where captured frames come from."""

    def counts(self, interface: int = 0) -> dict[str, int]:
        """
        Frames that came by (seen), and of those: unwanted by the filter (filtered), without
        room on the way here (dropped). broken: times that a ring made no sense.
        """

    def stop(self) -> None:
        """No more frames are wanted."""

class TapSource(FrameSource):
    """Frames of a port, by its tap."""

    def __init__(
        self, process: str, port: str, ring_bytes: int, snap_length: int, filter: bytes
    ) -> None:
        """
        process: number of the process that has `port` (its spec) open. ring_bytes: of the
        ring of each queue, a power of two. filter: classic BPF, b"" = every frame.
        """

    @property
    def queues(self) -> int: ...
    @property
    def followers(self) -> int:
        """Queues whose frames are copied by now; one that nobody polls is not."""

    @property
    def refused(self) -> bool:
        """The process could not map the rings."""

class RingBufferSource(FrameSource):
    """Frames that an eBPF tap sends through a ring buffer."""

    def __init__(self, map_fd: int, ring_bytes: int, snap_length: int, filter: bytes) -> None:
        """
        map_fd: of a BPF_MAP_TYPE_RINGBUF of ring_bytes with records of `struct tap_frame`;
        it is duplicated. filter: classic BPF that is run here, b"" = every frame.
        """

    def set_lost(self, frames: int) -> None:
        """
        What the program counted as lost, also behind the last frame that came through.
        """

    def end(self) -> None:
        """No more frames will come: what sent them has gone."""

class CaptureSession:
    """Takes frames from sources and writes them as pcapng."""

    def __init__(
        self,
        sources: Sequence[FrameSource],
        interfaces: Sequence[Sequence[dict[str, Any]]],
        path: str,
        fd: int,
        file_bytes: int,
        file_ns: int,
        ring_files: int,
        hardware: str,
        os: str,
        application: str,
        comment: str,
    ) -> None:
        """
        interfaces: for each source the descriptions of its interfaces (name, description,
        hardware, os, filter, comment, snap_length, speed). fd: written to instead of path
        where it is not negative. file_bytes, file_ns: a new file after so much, 0 = never;
        ring_files: keep so many, 0 = all.
        """

    def run(self, seconds: float, most: int) -> bool:
        """
        Write frames for so long, without the GIL. False: `most` in all are written (0 = no
        limit), or no more will come. Raises PortError where writing fails.
        """

    def finish(self, most: int) -> None:
        """Stop the sources, write what they have, end the file."""

    def set_device_counts(
        self, interface: int, received: int | None, dropped: int | None, comment: str
    ) -> None:
        """
        What the device received and lost since the capture began, for the end of the file.
        """

    def counts(self, interface: int = 0) -> dict[str, int]:
        """Of an interface of the file: the source's counts, and delivered."""

    @property
    def written(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def removed(self) -> int: ...
    @property
    def files(self) -> list[str]: ...

def tap_ports(process: str) -> list[str]:
    """Specs of the ports that a process has open and that can be tapped."""

def run_bpf(filter: bytes, frame: bytes, original: int) -> int:
    """What a classic BPF program says of a frame: 0 = not wanted."""

def build_prefix4(
    addresses: _Buffer,
    lengths: _Buffer,
    owners: _Buffer,
    root_bits: int = 0,
    longest: bool = False,
) -> tuple[int, NDArray[np.uint32], NDArray[np.uint32], list[list[int]]]:
    """
    (root bits, root, nodes, owners of each class) of IPv4 prefixes: addresses and owners as
    uint32, lengths as uint8 arrays. root_bits: 16 or 24; 0 chooses by size. longest: a class
    has the owner of the longest prefix only, not those of all around an address.
    Raises ConfigError: a length above 32, or bits set behind it.
    """

def build_prefix6(
    addresses: _Buffer, lengths: _Buffer, owners: _Buffer, longest: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint32], list[list[int]]]:
    """
    (lengths in use, keys, class of each key, owners of each class) of IPv6 prefixes: addresses
    as two uint64 each, the high one first, both in host order. A key is three uint64: high,
    low, length. Raises ConfigError: a length above 128, or bits set behind it.
    """

NO_SERVER: int = 4294967295

def maglev_table(
    names: Sequence[str], weights: Sequence[int], *, size: int = 65537, algorithm: str = "wirepath"
) -> NDArray[np.uint32]:
    """
    A weighted Maglev table: of each of its `size` slots (a prime) the index in `names`, as uint32; NO_SERVER where no server has a weight. The order of the names does not matter.

    algorithm: "wirepath", or "cilium", whose tables equal those of Cilium's agent.
    Raises ConfigError. Source: Eisenbud et al., Maglev, NSDI 2016, section 3.4.
    """

def builtin_programs() -> list[str]:
    """Names of the packet programs that are part of wirepath."""

class ProgramInstance:
    """
    A natively built packet program with maps of its own: a built-in
    one by name, or from the shared object `path`. config: bytes.
    """

    def __init__(
        self,
        name: str,
        path: str = "",
        entries: Mapping[str, int] = {},
        config: object | None = None,
        slots: int = 1,
        test_mode: bool = False,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def config_size(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def memory(self) -> int:
        """Bytes reserved; untouched pages cost none."""

    def run(
        self,
        frame: bytes | bytearray | memoryview,
        queue: int = 0,
        interface: int = 0,
        time: int = 0,
    ) -> tuple[int, int, bytes]:
        """(verdict, target, frame afterwards)"""

    def map_bytes(self, map: str) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]:
        """
        The values of an array map where they are, to be written with atomic stores.
        """

    def read_ring(self, map: str, most: int = 1024) -> list[bytes]:
        """Records written since, at most `most`."""

    def ring_dropped(self, map: str) -> int:
        """Records that found the ring full."""

    @property
    def maps(self) -> list[dict[str, Any]]:
        """
        name, kind, key_size, value_size, max_entries, slots and value_stride of each map.
        """

    def get(self, map: str, key: bytes | bytearray | memoryview) -> bytes | None:
        """All slots' values of an entry, or None."""

    def put(self, map: str, key: object, value: object, how: int = 0) -> int:
        """0 or -errno; how: 0 any, 1 new only, 2 existing only."""

    def remove(self, map: str, key: object) -> int:
        """0 or -errno."""

    def load(self, map: str, keys: Any, values: Any, how: int = 0) -> tuple[int, int]:
        """
        Many entries, beside each other in two arrays: (how many went in, 0 or -errno).
        """

    def dump(self, map: str) -> tuple[bytes, bytes]:
        """Every entry: (keys, values), beside each other."""

    def size(self, map: str) -> int:
        """Entries there are."""

    def clear(self, map: str) -> None:
        """No entries any more; of an array: zeros."""

class ProgramStage(Stage):
    """Runs a program over each batch of a worker."""

    def __init__(self, instance: ProgramInstance, name: str) -> None: ...
    def replace(self, instance: ProgramInstance, seconds: float = 5.0) -> None:
        """
        Run another instance from the next batch on; returns once the old one is free.
        Raises DeviceBusy, and all stays, where the worker takes no batch within `seconds`.
        """

    @property
    def instance(self) -> ProgramInstance: ...

class Fib:
    """See wirepath.route.Fib."""

    def __init__(
        self,
        family: int,
        entry_bytes: int = 4,
        max_prefixes: int = 0,
        max_groups: int = 0,
        huge_pages: bool = True,
        memory: object | None = None,
    ) -> None:
        """
        memory: writable buffers for root, groups and state, kept as long as the table.
        """

    def add(self, prefixes: object, lengths: object, next_hops: object) -> int:
        """
        Buffers: addresses in network order, u8 lengths, u32 next hops. How many were new.
        """

    def remove(self, prefixes: object, lengths: object) -> int:
        """How many were there."""

    def lookup(self, addresses: _Buffer) -> NDArray[np.uint32]:
        """
        u32 next hops of addresses in network order; 0 = none. Any thread, without a lock.
        """

    def match(self, address: bytes) -> tuple[int, int] | None:
        """
        (length, next hop) of the longest prefix that holds the address, or None.
        """

    def find(self, prefix: bytes, length: int) -> int:
        """Next hop of this very prefix; 0 = not there."""

    def dump(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint32]]:
        """(prefixes, lengths, next hops) of all, in no order."""

    def memory(self) -> dict[str, int]:
        """Bytes by part, with their bounds."""

    def __len__(self) -> int: ...
    @property
    def family(self) -> int: ...
    @property
    def entry_bytes(self) -> int: ...
    @property
    def max_prefixes(self) -> int: ...
    @property
    def max_next_hop(self) -> int: ...

class NextHops:
    """See wirepath.route.RouteTable."""

    def __init__(
        self,
        max_next_hops: int = 4095,
        max_groups: int = 4095,
        buckets: int = 128,
        memory: object | None = None,
    ) -> None:
        """
        memory: writable buffers for hops, buckets and reach, kept as long as this.
        """

    def set(
        self,
        next_hop: int,
        kind: int,
        interface: int = 0,
        destination: bytes = ...,
        source: bytes = ...,
        mtu: int = 0,
        vlan: int = 0,
        port: int = 0,
        out: int = 0,
    ) -> None:
        """
        Changes a next hop in place: a reader sees all of it or none. port, out: numbers of the router's port and interface (src/programs/route_shared.h).
        """

    def get(self, next_hop: int) -> tuple[int, int, bytes, bytes, int, int]:
        """(kind, interface, destination, source, mtu, vlan, port, out)"""

    def set_group(self, group: int, members: Sequence[tuple[int, int]]) -> int:
        """
        Members are (next hop, weight). How many buckets moved to another member.
        """

    def select(self, group: int, hash: int) -> int:
        """The member that a flow hash falls to; 0 = none."""

    def buckets(self, group: int) -> list[int]: ...
    def reach(self, group: int) -> list[int]:
        """
        Interfaces that its members lead out of; 0 stands for any that is none of the router's.
        """

    @property
    def max_next_hops(self) -> int: ...
    @property
    def max_groups(self) -> int: ...
    @property
    def bucket_count(self) -> int: ...
    @property
    def resident(self) -> int: ...
    @property
    def reserved(self) -> int: ...

class RtnetlinkDecoder:
    """rtnetlink messages to route events."""

    def __init__(self) -> None: ...
    def decode(self, data: _Buffer) -> NDArray[np.void]:
        """
        Whole netlink messages, as recv() gave them, to an array of dtypes.ROUTE_EVENT.
        """

    def receive(self, fd: int, most: int) -> tuple[NDArray[np.void], bool, bool, int]:
        """
        What waits in a netlink socket, without waiting for anything and without the GIL, until there are at least so many events: (array of dtypes.ROUTE_EVENT, whether messages were missed, whether there may be more, an errno or 0).
        """

    @property
    def counters(self) -> dict[str, int]: ...

class FpmStream:
    """FRR's dplane_fpm_nl stream to route events."""

    def __init__(self) -> None: ...
    def feed(self, data: _Buffer) -> NDArray[np.void]:
        """
        The next bytes, cut anywhere; the events of the frames that are whole by now, as an array of dtypes.ROUTE_EVENT.
        """

    @property
    def broken(self) -> bool:
        """A header came that cannot be one: nothing after it is read."""

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not whole."""

    @property
    def counters(self) -> dict[str, int]: ...

def now() -> int:
    """Nanoseconds since the Unix epoch by the clock that the data path uses."""

def clock_source() -> str:
    """What now() reads: "tsc" or "clock_gettime"."""

def recalibrate_clock() -> None:
    """Follow the system clock; workers do it by themselves."""
