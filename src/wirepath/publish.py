"""Publishing a feed: a generated day, an ITCH file or a capture over MoldUDP64 multicast.

::

    config = PublishConfig(host="239.1.1.1", port=9001, via="socket:eth0", rate=200_000)
    report = Publisher(config).run()
    print(report["messages"], report["seconds"])
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import _core, logs, publish_source
from .errors import ConfigError, StateError
from .flows import flow_of, flow_text
from .ports import Port
from .ports import open as open_port
from .publish_config import PublishConfig
from .publish_lines import LineConfig
from .publish_servers import Servers
from .registry import load as load_backend
from .running import Running
from .settings import problem
from .stats import percentiles
from .steering import udp

__all__ = ["LineConfig", "PublishConfig", "Publisher", "flow_of", "flow_text"]

DEFAULT_SOURCE_PORT = 9000
_SIOCGIFADDR = 0x8915  # linux/sockios.h


Report = dict[str, Any]


class Publisher(Running):
    """Sends one source over MoldUDP64 from a thread of its own.

    Opening the port and reading the source happen here: errors in them are raised by the
    constructor. ``start()``, ``stop()``, ``join()``, or ``run()`` for all of it; as a context
    manager it starts, and stops and joins at the end.
    """

    def __init__(self, config: PublishConfig) -> None:
        if not isinstance(config, PublishConfig):
            raise ConfigError(problem("config", config, "a PublishConfig"))
        self.config = config
        if config.source == "generated":
            self.source = publish_source.generated(
                config.seed, config.messages, config.symbols, config.day_burst
            )
        else:
            steer = udp(*flow_of(config.flow)) if config.flow is not None else None
            self.source = publish_source.from_file(config.source, steer)
        refused = config.own_numbers if self.source.kind == "capture" else []
        if refused:
            names = ", ".join(refused)
            raise ConfigError(
                f"{names}: not with {config.source}: the packets of a capture go out as they are "
                "(leave it out, or publish an ITCH file or a generated day)"
            )
        self.not_honoured: list[dict[str, Any]] = []
        self._port = self._open()
        try:
            self._native = _core.Publisher(self._port.native, self.source.native, self._options())
            self._servers = Servers(self._native, config)
        except BaseException:
            self._port.close()
            raise
        self._started = 0.0
        self._seconds = 0.0
        self._report: Report | None = None
        self._stopped = threading.Event()

    def _open(self) -> Port:
        config = self.config
        backend, _, given = _core.parse_port_spec(config.via)
        load_backend(backend)
        entry = _core.loaded_backends().get(backend)
        known = [name for name, _, _ in entry["options"]] if entry else []
        wanted = {
            "tx_only": True,
            "ttl": config.ttl,
            "loop": config.loop,
            "source_port": config.source_port,
        }
        if "ttl" not in known:
            del wanted["loop"]  # a capture's option of this name is another thing
        options: dict[str, Any] = {n: v for n, v in wanted.items() if n in known and n not in given}
        if "ttl" not in known and "loop" in config.model_fields_set:
            reason = f"the {backend} backend sends past the host's own stack"
            self.not_honoured.append({"option": "loop", "value": config.loop, "reason": reason})
        # Lines go to groups of their own; a port that only sends needs none of them named.
        return open_port(
            config.via,
            steer=_core.everything() if "tx_only" in known else udp(config.host, config.port),
            **options,
        )

    def _options(self) -> dict[str, Any]:
        config = self.config
        out: dict[str, Any] = {
            "name": f"{config.host}:{config.port}"[:48],
            "session": config.session,
            "first_sequence": config.first_sequence,
            **config.pacing(self.source.kind),
            "max_payload": config.max_payload,
            "max_messages": config.max_messages,
            "pack_window_ns": config.pack_window_us * 1000,
            "heartbeat_ns": round(config.heartbeat * 1e9),
            "linger_ns": round(config.linger * 1e9),
            "end_of_session": config.end_of_session,
            "end_of_session_interval_ns": round(config.end_of_session_interval * 1e9),
            "destination_ip": config.host,
            "destination_port": config.port,
            "ttl": config.ttl,
            "burst": config.burst,
            "on_refused": config.on_refused,
            "spin_ns": config.spin_us * 1000,
        }
        if config.cpu_core is not None:
            out["cpu_core"] = config.cpu_core
        if config.destination_mac is not None:
            out["destination_mac"] = config.destination_mac
        whole_frames = self._port.capabilities["ethernet_headers"]
        out["source_port"] = config.source_port or (DEFAULT_SOURCE_PORT if whole_frames else 0)
        if whole_frames:
            _, device, _ = _core.parse_port_spec(config.via)
            info = self._port.info()
            if "mac" in info:  # the device's own, whether or not an interface stands behind it
                out["source_mac"] = info["mac"]
            out |= _link_addresses(str(info.get("interface", device)), config)
        if config.line or config.served:
            out["history_bytes"] = config.history_mb << 20
        out["epochs"] = config.epochs()
        addresses = ("source_ip", "source_mac", "source_port", "destination_mac", "ttl")
        shared = {name: out[name] for name in addresses if name in out}
        out["lines"] = [self._line(i, line, shared) for i, line in enumerate(config.line)]
        return out

    @staticmethod
    def _line(index: int, line: LineConfig, shared: dict[str, Any]) -> dict[str, Any]:
        host, port = flow_of(line.to)
        return {
            **shared,
            **line.native(index),
            "destination_ip": host,
            "destination_port": port,
        }

    # --- running -------------------------------------------------------------------------
    def start(self) -> None:
        """Begin to send; returns at once."""
        if self._started:
            raise StateError("this publisher has been started already: make a new one")
        self._started = time.monotonic()
        try:
            self._servers.start()
            self._native.start()
        except BaseException:
            self._servers.stop()
            self._port.close()
            raise
        logs.emit("publish.started", via=self.config.via, lines=self._targets().split(", "))

    def stop(self) -> None:
        """Ask it to stop; what is not sent yet stays unsent, the end of session too. Servers stop
        with it."""
        self._stopped.set()
        self._native.stop()

    def join(self) -> Report:
        """Wait for the end, close the port, and say what was sent (see :meth:`report`). Raises
        the first error that stopped the publisher."""
        if not self._started:
            raise StateError("join() comes after start()")
        if self._report is None:
            try:
                self._wait()
                self._seconds = time.monotonic() - self._started
                self._servers.linger(self._stopped, self.config.serve_linger)
            finally:
                self._seconds = self._seconds or time.monotonic() - self._started
                self._servers.stop()
                self._report = self.report()
                self._port.close()
            sent = {name: self._report[name] for name in ("packets", "messages")}
            logs.emit("publish.ended", via=self.config.via, **sent)
        return self._report

    def _wait(self) -> None:
        """Until the thread that sends has ended; Ctrl-C stops it."""
        try:
            while self._native.running:  # a wait inside the native part would hold signals back
                time.sleep(0.002)
        except BaseException:
            self.stop()
            raise
        finally:
            self._native.join()

    def run(
        self,
        *,
        on_progress: Callable[[Publisher], object] | None = None,
        interval: float = 0.1,
        max_seconds: float | None = None,
    ) -> Report:
        """Start, wait for the end, report. on_progress: called every ``interval`` seconds.
        max_seconds: stop after that long."""
        self.start()
        try:
            while self.running:
                time.sleep(min(interval, 0.05) if on_progress is None else interval)
                if on_progress is not None:
                    on_progress(self)
                if max_seconds is not None and time.monotonic() - self._started >= max_seconds:
                    self.stop()
        except BaseException:
            self.stop()
            with contextlib.suppress(Exception):  # what ended the run goes before
                self.join()
            raise
        return self.join()

    @property
    def started(self) -> bool:
        return self._started > 0

    @property
    def running(self) -> bool:
        return self._native.running

    @property
    def packets(self) -> int:
        """Packets that the port took: data, heartbeats and ends of session."""
        return self._native.packets

    @property
    def messages(self) -> int:
        """Messages in them."""
        return self._native.messages

    @property
    def published(self) -> int:
        """Messages of the stream that some line has come to."""
        return self._native.published

    def report(self) -> Report:
        """What was sent. Exact after :meth:`join`.

        ``published``: messages of the stream that were due, whatever became of them. ``packets``
        and ``messages`` that the port took, on all lines, ``bytes`` of UDP payload, ``heartbeats``,
        ``end_of_session`` packets, ``first_sequence`` and ``next_sequence`` (messages of a
        capture keep their own numbers: both are None), ``drops`` (counter to count: what was
        never handed to the network), ``port_stats``, ``port`` (its info), ``lateness_ns``
        (percentiles of how long after its deadline each packet left), ``seconds`` of it all and
        ``sending_seconds`` without the wait before and between the ends of session; the rates are
        of the latter.

        ``lines``: of each, where it goes, its counters, and what it lost on purpose: ``messages``
        exactly, and ``listed``, the first 65,536 of its ``ranges``, as (session, first, last).
        ``lost_everywhere``: the same of what every line lost, the gaps that a receiver of all of
        them has. ``sessions``: where numbers begin (anew). ``retransmit``, ``soup`` and
        ``glimpse``: counters of the servers, None without them.
        """
        if self._report is not None:
            return self._report
        stats = self._native.stats()
        seconds = self._seconds or (time.monotonic() - self._started if self._started else 0.0)
        ends = min(stats["end_of_session"], self.config.end_of_session)
        closing = self.config.linger + self.config.end_of_session_interval * max(ends - 1, 0)
        own = self.source.kind != "capture"
        first = self.config.first_sequence if own else None
        sessions = self._sessions(stats["published"]) if own else []
        closing += self.config.changeover * max(len(sessions) - 1, 0)
        sending = max(seconds - closing, 0.0) if stats["end_of_session"] else seconds
        following = None
        if sessions:
            following = sessions[-1]["first_sequence"] + stats["published"] - sessions[-1]["at"]
        return {
            "source": {"kind": self.source.kind, **self.source.about},
            "to": self._targets(),
            "session": self.config.session if own else None,
            "sessions": sessions,
            "published": stats["published"],
            "packets": stats["packets"],
            "messages": stats["messages"],
            "bytes": stats["bytes"],
            "heartbeats": stats["heartbeats"],
            "end_of_session": stats["end_of_session"],
            "first_sequence": first,
            "next_sequence": following,
            "seconds": seconds,
            "sending_seconds": sending,
            "messages_per_second": stats["messages"] / sending if sending else 0.0,
            "packets_per_second": stats["packets"] / sending if sending else 0.0,
            "tx_refused": stats["tx_refused"],
            "lines": self._lines(),
            "lost_everywhere": None if self._native.running else self._native.lost()[1],
            **self._servers.stats(),
            "drops": {n: v for n, v in stats.items() if n.startswith("drop.")},
            "lateness_ns": percentiles(self._native.send_lateness()),
            "not_honoured": self.not_honoured,
            "port_stats": self._port.stats(),
            "port": self._port.info(),
        }

    def _targets(self) -> str:
        if self.config.line:
            return ", ".join(line.to for line in self.config.line)
        return flow_text(self.config.host, self.config.port)

    def _sessions(self, published: int) -> list[dict[str, Any]]:
        """Every stretch of numbers that has begun; ``at``: its first message, from 0."""
        config = self.config
        out = [{"session": config.session, "first_sequence": config.first_sequence, "at": 0}]
        for epoch in config.epochs():
            if epoch["at"] < published:
                out.append(
                    {"session": epoch["session"], "first_sequence": 1, "at": int(epoch["at"])}
                )
        return out

    def _lines(self) -> list[dict[str, Any]]:
        out = []
        lost = None if self._native.running else self._native.lost()[0]
        for i, stats in enumerate(self._native.line_stats()):
            about: dict[str, Any] = {"to": self._targets()}
            if self.config.line:
                about = {name: value for name, value in self.config.line[i] if value is not None}
            out.append({**about, **stats, "lost": lost[i] if lost is not None else None})
        return out


def _link_addresses(device: str, config: PublishConfig) -> dict[str, str]:
    """Addresses that whole frames need and a socket would fill in: those of the interface."""
    out = {}
    if config.source_host is not None:
        out["source_ip"] = config.source_host
    else:
        six = ipaddress.ip_address(config.host).version == 6
        address = _interface_ipv6(device) if six else _interface_ipv4(device)
        if address is not None:
            out["source_ip"] = address
        elif not Path(f"/proc/sys/net/ipv4/conf/{device or '-'}").exists():
            # No interface at all: a file. The addresses kept for documentation (RFC 5737, 3849).
            out["source_ip"] = "2001:db8::1" if six else "192.0.2.1"
    mac = _interface_mac(device)
    if mac is not None:
        out["source_mac"] = mac
    return out


def _ifreq(device: str, request: int) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            return fcntl.ioctl(sock, request, struct.pack("256s", device.encode()[:15]))
        except OSError:
            return None


def _interface_ipv4(device: str) -> str | None:
    answer = _ifreq(device, _SIOCGIFADDR)
    return socket.inet_ntoa(answer[20:24]) if answer else None


def _interface_ipv6(device: str) -> str | None:
    """The address of the widest scope: global rather than link-local."""
    found = []
    for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
        address, _, _, scope, _, name = line.split()
        if name == device:
            found.append((int(scope, 16), str(ipaddress.IPv6Address(bytes.fromhex(address)))))
    return min(found)[1] if found else None


def _interface_mac(device: str) -> str | None:
    answer = _ifreq(device, 0x8927)  # SIOCGIFHWADDR
    return answer[18:24].hex(":") if answer else None
