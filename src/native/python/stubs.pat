# Types that nanobind cannot see, for `python -m nanobind.stubgen -m wirepath._core -p THIS`.

^wirepath\._core\.__prefix__$:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Any
    import numpy as np
    from numpy.typing import DTypeLike, NDArray
    from .items import Items
    _Buffer = bytes | bytearray | memoryview | NDArray[Any]

^wirepath\._core\.AF_XDP_MISSING$:
    AF_XDP_MISSING: str

^wirepath\._core\.EF_VI_MISSING$:
    EF_VI_MISSING: str

^wirepath\._core\.DPDK_MISSING$:
    DPDK_MISSING: str

^wirepath\._core\.PROGRAMS_MISSING$:
    PROGRAMS_MISSING: str

^wirepath\._core\.__version__$:
    __version__: str

\.Histogram\.counts$:
    def counts(self) -> NDArray[np.uint64]:
        \doc

\.Histogram\.bucket_lows$:
    @staticmethod
    def bucket_lows() -> NDArray[np.int64]:
        \doc

telemetry_read$:
    def telemetry_read(name: str = '') -> tuple[dict[str, int], dict[str, Histogram]]:
        \doc

\.Ring\.pop_batch$:
    def pop_batch(self, max: int = 65536, timeout: float = 0.0) -> NDArray[np.void]:
        \doc

\.Ring\.try_pop$:
    def try_pop(self) -> np.void | None:
        \doc

\.Ring\.push$:
    def push(self, records: NDArray[np.void]) -> int:
        \doc

\.Steering\.flows$:
    @property
    def flows(self) -> list[tuple[str, str, int]]:
        \doc

\.Batch\.__getitem__$:
    def __getitem__(self, index: int) -> memoryview:
        \doc

\.Batch\.lengths$:
    @property
    def lengths(self) -> NDArray[np.uint32]:
        \doc

\.Batch\.timestamps$:
    @property
    def timestamps(self) -> NDArray[np.int64]:
        \doc

\.Batch\.hashes$:
    @property
    def hashes(self) -> NDArray[np.uint32]:
        \doc

\.Batch\.verdicts$:
    @property
    def verdicts(self) -> NDArray[np.uint8]:
        \doc

    @verdicts.setter
    def verdicts(self, values: int | NDArray[Any]) -> None: ...

\.Batch\.headers$:
    def headers(self) -> NDArray[np.void]:
        \doc

\.Batch\.column$:
    def column(self, offset: int, dtype: DTypeLike, of: str = 'frame') -> NDArray[Any]:
        \doc

\.Batch\.__enter__$:
    def __enter__(self) -> Batch: ...

\.Batch\.__exit__$:
    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None: ...

\.PortIterator\.__iter__$:
    def __iter__(self) -> PortIterator: ...

\.PortIterator\.__next__$:
    def __next__(self) -> Batch: ...

\.PortHandle\.poll$:
    def poll(self, timeout_us: int) -> Batch | None: ...

\.PortHandle\.send$:
    def send(self, frames: Sequence[_Buffer], queue: int = 0) -> int: ...

\.PortHandle\.info$:
    def info(self) -> dict[str, Any]: ...

\.PortHandle\.stats$:
    def stats(self) -> dict[str, int]: ...

\.PortHandle\.capabilities$:
    def capabilities(self) -> dict[str, bool | int]: ...

loaded_backends$:
    def loaded_backends() -> dict[str, Any]: ...

parse_port_spec$:
    def parse_port_spec(spec: str) -> tuple[str, str, dict[str, str]]:
        \doc

\.Worker\.stats$:
    def stats(self) -> dict[str, int]: ...

\.MoldUDP64\.on_packet$:
    def on_packet(self, packet: _Buffer, recv_time: int = 0) -> list[Any]:
        \doc

\.MoldUDP64\.gaps$:
    @property
    def gaps(self) -> list[tuple[int, int]]:
        \doc

\.SoupBinTCP\.on_bytes$:
    def on_bytes(self, data: _Buffer, now: int) -> list[Any]:
        \doc

\.SoupBinTCP\.on_time$:
    def on_time(self, now: int) -> list[Any]:
        \doc

\.SoupBinTCP\.counters$:
    @property
    def counters(self) -> dict[str, int]: ...

\.Arbiter\.make$:
    @staticmethod
    def make(framer: str, *, lines: int, recovery_lines: int, units: int, in_order: bool, hold_ns: int, hold_messages: int, hold_bytes: int, max_gaps: int, session: bytes, pin_session: bool, next_sequence: int, resumed: bool, session_begin: int, await_snapshot: bool, reorder_messages: int, reorder_ns: int, restart_packets: int, max_jump: int, skew_packets: int) -> Arbiter: ...

\.Arbiter\.on_packet$:
    def on_packet(self, line: int, packet: _Buffer, recv_time: int) -> list[Any]: ...

\.Arbiter\.on_time$:
    def on_time(self, now: int) -> list[Any]: ...

\.Arbiter\.skip_to$:
    def skip_to(self, next_sequence: int, now: int, unit: int) -> list[Any]: ...

\.(Arbiter|Recovery)\.deadline$:
    @property
    def deadline(self) -> int | None: ...

\.(Arbiter|Recovery)\.counters$:
    @property
    def counters(self) -> dict[str, int]: ...

\.Arbiter\.units$:
    @property
    def units(self) -> list[dict[str, Any]]: ...

\.Arbiter\.lines$:
    @property
    def lines(self) -> list[dict[str, int]]: ...

\.Recovery\.__init__$:
    def __init__(self, venue: str, source_id: str, product_id: int, channel_id: int, options: dict[str, int]) -> None: ...

\.Recovery\.poll$:
    def poll(self, arbiter: Arbiter, now: int) -> tuple[list[Any], list[Any]]: ...

\.(MoldUDP64|Itch50Decoder|Itch50Columns|SbeColumns|CmeMdp3)\.counters$:
    @property
    def counters(self) -> dict[str, Any]: ...

\.FeedStage\.snapshot$:
    def snapshot(self) -> dict[str, Any]:
        \doc

\.FeedStage\.__init__$:
    def __init__(self, ring: Ring, channels: Sequence[FeedChannel], name: str = "feed", latency: bool = True, books: Books | None = None) -> None: ...

\.FeedChannel\.make$:
    @staticmethod
    def make(protocol: str, *, name: str, channel: int = 0, lines: Sequence[Steering], recovery_lines: Sequence[Steering] = ..., midnight_ns: int = 0, arbiter: dict[str, Any] = ..., recovery: str = "", recovery_options: dict[str, Any] = ..., instruments: Sequence[int] | None = None, symbols: Sequence[str] | None = None, types: Sequence[int] | None = None, schema: tuple[SbePlan, bytes] | None = None, symbol_table: SymbolTable | None = None, messages: Sequence[tuple[int, int, int]] = ..., message_bytes: int = 16777216) -> FeedChannel: ...

\.FeedChannel\.requests$:
    def requests(self, max: int = 64) -> list[Any]:
        \doc

\.FeedChannel\.reply$:
    def reply(self, packet: _Buffer, recv_time: int) -> bool:
        \doc

\.FeedChannel\.inject$:
    def inject(self, message: _Buffer, seq: int, recv_time: int, unit: int = 0) -> bool:
        \doc

\.FeedChannel\.take_rows$:
    def take_rows(self) -> dict[int, bytes]:
        \doc

\.FeedChannel\.snapshot$:
    def snapshot(self) -> dict[str, Any]:
        \doc

\.Itch50Decoder\.decode$:
    def decode(self, message: _Buffer, out: NDArray[np.void], seq: int = 0, recv_time: int = 0, midnight_ns: int = 0, channel: int = 0) -> str: ...

\.Itch50Decoder\.decode_frames$:
    def decode_frames(self, data: _Buffer, offset: int, out: NDArray[np.void], seq: int, recv_time: int, midnight_ns: int, channel: int, last: bool) -> tuple[int, int, int]:
        \doc

\.Itch50Columns\.append$:
    def append(self, message: _Buffer, seq: int = 0, recv_time: int = 0) -> str: ...

\.Itch50Columns\.append_frames$:
    def append_frames(self, data: _Buffer, seq: int = 1, recv_time: int = 0, last: bool = True) -> tuple[int, int]: ...

\.Itch50Columns\.take$:
    def take(self, type: str, dtype: DTypeLike) -> NDArray[np.void]: ...

\.SbePlan\.__init__$:
    def __init__(self, words: _Buffer) -> None: ...

\.SbeColumns\.append$:
    def append(self, message: _Buffer, seq: int = 0, recv_time: int = 0, send_time: int = 0) -> str: ...

\.SbeColumns\.append_many$:
    def append_many(self, data: _Buffer, lengths: _Buffer, seq: int, recv_time: int) -> int: ...

\.SbeColumns\.append_packets$:
    def append_packets(self, data: _Buffer, lengths: _Buffer, recv_times: _Buffer) -> None: ...

\.SbeColumns\.take$:
    def take(self, block: int, dtype: DTypeLike) -> NDArray[np.void]:
        \doc

\.SbeColumns\.heap$:
    def heap(self, message: int, dtype: DTypeLike) -> NDArray[np.uint8]: ...

\.CmeMdp3\.__init__$:
    def __init__(self, plan: SbePlan, map: _Buffer, channel: int = 0) -> None: ...

\.CmeMdp3\.packets$:
    def packets(self, data: _Buffer, lengths: _Buffer, recv_times: _Buffer) -> NDArray[np.void]: ...

\.CmeMdp3\.packets_into$:
    def packets_into(self, data: _Buffer, lengths: _Buffer, recv_times: _Buffer, out: _Buffer) -> tuple[int, int]:
        \doc

\.CmeMdp3\.batch$:
    def batch(self, batch: Batch) -> NDArray[np.void]: ...

\.CmeMdp3\.message$:
    def message(self, message: _Buffer, seq: int, recv_time: int) -> NDArray[np.void]: ...

itch50_layouts$:
    def itch50_layouts() -> dict[str, tuple[str, int, list[tuple[str, str, int, str]]]]:
        \doc

\.ItchGenerator\.generate$:
    def generate(self, out: bytearray | memoryview | NDArray[Any]) -> int:
        \doc

\.ItchGenerator\.by_type$:
    @property
    def by_type(self) -> dict[str, int]: ...

\.PacketList\.add$:
    def add(self, time: int, payload: _Buffer) -> None: ...

\.Publisher\.__init__$:
    def __init__(self, port: PortHandle, source: MessageSource | PacketList, options: dict[str, Any]) -> None: ...

\.LoadSender\.__init__$:
    def __init__(self, port: PortHandle, options: dict[str, Any]) -> None: ...

\.LoadSender\.start$:
    def start(self, due: NDArray[np.int64], size: NDArray[np.uint32], period: int, count: int, run: int, start: int) -> None:
        \doc

\.(LoadSender|LatencyMeter)\.result$:
    def result(self) -> dict[str, Any]:
        \doc

\.PerfCounters\.read$:
    def read(self) -> dict[str, dict[str, Any]]:
        \doc

\.Publisher\.stats$:
    def stats(self) -> dict[str, int]: ...

\.Batch\.(length|timestamp|hash|verdict|target)$:
    @property
    def \1(self) -> Items:
        \doc

\.Batch\.data$:
    @property
    def data(self) -> Frames:
        \doc

\.Frames\.__getitem__$:
    def __getitem__(self, index: int) -> Items: ...

\.HeldFrame\.view$:
    @property
    def view(self) -> memoryview:
        \doc

\.HeldFrame\.__enter__$:
    def __enter__(self) -> memoryview: ...

\.HeldFrame\.__exit__$:
    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None: ...

\.HandOff\.pop$:
    def pop(self, timeout: float = 0.0) -> HeldFrame | None:
        \doc

\.HandOff\.pop_batch$:
    def pop_batch(self, max: int = 64, timeout: float = 0.0) -> list[HeldFrame]:
        \doc

\.HandOff\.stats$:
    def stats(self) -> dict[str, int]:
        \doc

\.Worker\.queues$:
    @property
    def queues(self) -> list[tuple[str, int]]:
        \doc

\.Worker\.addresses$:
    @property
    def addresses(self) -> tuple[int, int]:
        \doc

\._core\.BATCH_LAYOUT$:
    BATCH_LAYOUT: dict[str, int]

\._core\.KEEP_EXCEPTION$:
    KEEP_EXCEPTION: int

\._core\.RAISED$:
    RAISED: int

\._core\.MAX_CODE$:
    MAX_CODE: int

^wirepath\._core\.Books\.apply$:
    def apply(self, records: NDArray[np.void], bbo: bool) -> NDArray[np.void]: ...

^wirepath\._core\.Books\.depth$:
    def depth(self, instrument: int, side: str, levels: int) -> NDArray[np.void]: ...

^wirepath\._core\.Books\.orders$:
    def orders(self, instrument: int, side: str) -> NDArray[np.void]: ...

^wirepath\._core\.Books\.implied$:
    def implied(self, instrument: int, side: str) -> NDArray[np.void]: ...

^wirepath\._core\.Books\.offences$:
    def offences(self) -> NDArray[np.void]: ...

^wirepath\._core\.Books\.best$:
    def best(self, instrument: int) -> NDArray[np.void]: ...

^wirepath\._core\.Books\.counters$:
    @property
    def counters(self) -> dict[str, int]: ...

\.(IexTp|PitchUnits|Pillar)\.on_packet$:
    def on_packet(self, packet: _Buffer, recv_time: int = 0) -> list[Any]:
        \doc

\.(IexTp|PitchUnits|Pillar|IexReader|PitchReader|IexColumnReader|PitchColumnReader|RawReader)\.counters$:
    @property
    def counters(self) -> dict[str, int]: ...

\.(IexTp|PitchUnits|Pillar|IexReader|PitchReader|IexColumnReader|PitchColumnReader|RawReader)\.gaps$:
    def gaps(self, unit: int = 0) -> list[tuple[int, int]]:
        \doc

\.(IexReader|PitchReader|IexColumnReader|PitchColumnReader|RawReader)\.read$:
    def read(self, packet: _Buffer, recv_time: int, dtype: DTypeLike) -> NDArray[np.void]: ...

\.(IexReader|PitchReader|IexColumnReader|PitchColumnReader|RawReader)\.read_batch$:
    def read_batch(self, batch: Batch, dtype: DTypeLike) -> NDArray[np.void]: ...

\.(IexReader|PitchReader|IexColumnReader|PitchColumnReader|RawReader)\.read_into$:
    def read_into(self, data: _Buffer, offsets: NDArray[np.uint64], lengths: NDArray[np.uint64], recv_times: NDArray[np.int64] | None, recv_time: int, begin: int, out: NDArray[Any]) -> tuple[int, int]:
        \doc

\.(IexReader|PitchReader)\.decode$:
    def decode(self, message: _Buffer, seq: int, recv_time: int, unit: int, flags: int, dtype: DTypeLike) -> NDArray[np.void]: ...

\.(IexReader|PitchReader|IexColumnReader|PitchColumnReader)\.message_counters$:
    @property
    def message_counters(self) -> dict[str, Any]: ...

\.(IexColumnReader|PitchColumnReader)\.append$:
    def append(self, message: _Buffer, seq: int, recv_time: int, send_time: int, unit: int) -> bool: ...

\.CmeRecovery\.__init__$:
    def __init__(self, plan: SbePlan, map: _Buffer, channel: int, held_records: int, instruments: int) -> None: ...

\.CmeRecovery\.packet$:
    def packet(self, payload: _Buffer, recv_time: int) -> NDArray[np.void]: ...

\.CmeRecovery\.snapshot$:
    def snapshot(self, payload: _Buffer, recv_time: int) -> NDArray[np.void]: ...

\.CmeRecovery\.reset$:
    def reset(self) -> NDArray[np.void]: ...

\.CmeRecovery\.counters$:
    @property
    def counters(self) -> dict[str, int]: ...

\.(IexColumnReader|PitchColumnReader)\.rows$:
    def rows(self, type: int) -> int: ...

\.(IexColumnReader|PitchColumnReader)\.take$:
    def take(self, type: int, dtype: DTypeLike) -> NDArray[np.void]: ...

\.IexColumnReader\.__init__$:
    def __init__(self, types: _Buffer, next_sequence: int, max_gaps: int) -> None: ...

\.PitchColumnReader\.__init__$:
    def __init__(self, types: _Buffer, next_sequence: int, max_gaps: int, midnight_ns: int) -> None: ...

\.SymbolTable\.symbols$:
    @property
    def symbols(self) -> list[str]:
        \doc

iex_segment_header$:
    def iex_segment_header(packet: _Buffer) -> tuple[int, int, int, int, int, int, int, int] | None:
        \doc

iex_layouts$:
    def iex_layouts() -> dict[str, tuple[str, list[int], int, list[tuple[str, str, int, str]], list[dict[str, Any]]]]:
        \doc

pitch_layouts$:
    def pitch_layouts() -> dict[int, tuple[str, list[int], int, list[tuple[str, str, int, str]], list[dict[str, Any]]]]:
        \doc

\.LineReader\.make$:
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

\.LineReader\.on_batch$:
    def on_batch(self, batch: Batch) -> None: ...

\.LineReader\.take_records$:
    def take_records(self, dtype: DTypeLike) -> NDArray[np.void]: ...

\.LineReader\.copy_rows$:
    def copy_rows(self, type: int, dtype: DTypeLike) -> NDArray[np.void]: ...

\.LineReader\.copy_packets$:
    def copy_packets(
        self, bytes: DTypeLike, u4: DTypeLike, i8: DTypeLike
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.int64]]: ...

\.LineReader\.counters$:
    @property
    def counters(self) -> dict[str, int]: ...

\.LineReader\.messages$:
    @property
    def messages(self) -> dict[str, Any]: ...

\.LineReader\.lines$:
    @property
    def lines(self) -> list[dict[str, Any]]: ...

\.LineReader\.channels$:
    @property
    def channels(self) -> list[dict[str, Any]]: ...

\.LineReader\.abandoned$:
    @property
    def abandoned(self) -> list[tuple[int, int, int, int, str]]: ...
\.Publisher\.lost$:
    def lost(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        \doc

\.Publisher\.line_stats$:
    def line_stats(self) -> list[dict[str, int]]: ...

\.(RetransmitServer|SoupServer)\.stats$:
    def stats(self) -> dict[str, int]: ...

\.(RetransmitServer|SoupServer)\.__init__$:
    def __init__(self, publisher: Publisher, options: dict[str, Any]) -> None: ...

\.SwitchControl\.paths$:
    def paths(self) -> list[dict[str, Any]]:
        \doc

\.SwitchControl\.delivered$:
    def delivered(self) -> dict[str, int]: ...

wirepath._core\.flow_hash$:
    def flow_hash(frame: bytes | bytearray | memoryview) -> int:
        \doc

\.(FrameSource|CaptureSession)\.counts$:
    def counts(self, interface: int = 0) -> dict[str, int]:
        \doc

\.ProgramInstance\.get$:
    def get(self, map: str, key: bytes | bytearray | memoryview) -> bytes | None:
        \doc
\.ProgramInstance\.dump$:
    def dump(self, map: str) -> tuple[bytes, bytes]:
        \doc
\.ProgramInstance\.load$:
    def load(self, map: str, keys: Any, values: Any, how: int = 0) -> tuple[int, int]:
        \doc
\.ProgramInstance\.maps$:
    @property
    def maps(self) -> list[dict[str, Any]]:
        \doc
\.ProgramInstance\.read_ring$:
    def read_ring(self, map: str, most: int = 1024) -> list[bytes]:
        \doc
\.ProgramInstance\.run$:
    def run(
        self, frame: bytes | bytearray | memoryview, queue: int = 0, interface: int = 0, time: int = 0
    ) -> tuple[int, int, bytes]:
        \doc

\.CaptureSession\.__init__$:
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
        \doc

\.build_prefix4$:
    def build_prefix4(
        addresses: _Buffer,
        lengths: _Buffer,
        owners: _Buffer,
        root_bits: int = 0,
        longest: bool = False,
    ) -> tuple[int, NDArray[np.uint32], NDArray[np.uint32], list[list[int]]]:
        \doc

\.build_prefix6$:
    def build_prefix6(
        addresses: _Buffer, lengths: _Buffer, owners: _Buffer, longest: bool = False
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint32], list[list[int]]]:
        \doc

maglev_table$:
    def maglev_table(
        names: Sequence[str], weights: Sequence[int], *, size: int = 65537, algorithm: str = "wirepath"
    ) -> NDArray[np.uint32]:
        \doc

\.Fib\.lookup$:
    def lookup(self, addresses: _Buffer) -> NDArray[np.uint32]:
        \doc

\.Fib\.match$:
    def match(self, address: bytes) -> tuple[int, int] | None:
        \doc

\.Fib\.dump$:
    def dump(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint32]]:
        \doc

\.Fib\.memory$:
    def memory(self) -> dict[str, int]:
        \doc

\.NextHops\.get$:
    def get(self, next_hop: int) -> tuple[int, int, bytes, bytes, int, int]:
        \doc

\.RtnetlinkDecoder\.decode$:
    def decode(self, data: _Buffer) -> NDArray[np.void]:
        \doc

\.RtnetlinkDecoder\.receive$:
    def receive(self, fd: int, most: int) -> tuple[NDArray[np.void], bool, bool, int]:
        \doc

\.RtnetlinkDecoder\.counters$:
    @property
    def counters(self) -> dict[str, int]: ...

\.FpmStream\.feed$:
    def feed(self, data: _Buffer) -> NDArray[np.void]:
        \doc

\.FpmStream\.counters$:
    @property
    def counters(self) -> dict[str, int]: ...
