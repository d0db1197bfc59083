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

\.(MoldUDP64|Itch50Decoder|Itch50Columns)\.counters$:
    @property
    def counters(self) -> dict[str, Any]: ...

\.FeedStage\.snapshot$:
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
