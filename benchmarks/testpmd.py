# SPDX-License-Identifier: Apache-2.0
"""dpdk-testpmd, driven by its command line: a yardstick, and the peer of both sides."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import time
from types import TracebackType
from typing import Any

from . import process
from .harness import Refused, Unavailable

_PROMPT = b"testpmd> "
_START_SECONDS = 30
_COUNTERS = re.compile(r"(RX|TX)-(packets|missed|errors|nombuf): *(\d+)")


def command(name: str, device: str, forward: str, cpu: int, batch: int) -> list[str]:
    """testpmd with one virtual device and both of its lcores on one processor."""
    program = shutil.which("dpdk-testpmd")
    if program is None:
        raise Unavailable("dpdk-testpmd is not installed (apt install dpdk-dev)")
    eal = ["--no-huge", "-m", "512", "--no-telemetry", "--no-shconf", f"--file-prefix={name}"]
    # No device of this machine is to be touched.
    eal += [f"--lcores=0@{cpu},1@{cpu}", "--allow=ffff:ff:1f.7", f"--vdev={device}"]
    own = ["-i", f"--forward-mode={forward}", f"--burst={batch}", "--port-topology=loop"]
    own += ["--total-num-mbufs=16384", "--rxd=1024", "--txd=1024", "--no-lsc-interrupt"]
    # Into a pipe it would keep its answers until a buffer of them is full.
    return ["stdbuf", "-oL", program, *eal, "--", *own]


class Testpmd:
    """A testpmd that waits for commands; killed at the end."""

    __test__ = False  # no test, whatever its name

    def __init__(self, words: list[str]) -> None:
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            self._answer(_START_SECONDS)
        except BaseException:
            self._kill()
            raise

    def ask(self, line: str) -> str:
        """Gives a command; what testpmd says to it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Refused(f"testpmd ended before {line!r}") from None
        return self._answer(10)

    def counters(self) -> dict[str, Any]:
        """Of its port, and `at`: when, in seconds."""
        said = self.ask("show port stats 0")
        out: dict[str, Any] = {
            f"{way.lower()}_{what}": int(count) for way, what, count in _COUNTERS.findall(said)
        }
        if "rx_packets" not in out:
            raise Refused(f"testpmd gives no counters: {said.strip()[-200:]}")
        return out | {"at": time.monotonic()}

    def processor_seconds(self) -> float:
        """That its threads have had."""
        return process.processor_seconds(self._process.pid)

    def wait_for_link(self, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while "Link status: up" not in self.ask("show port info 0"):
            if time.monotonic() > end:
                raise Refused("the memif link does not come up")
            time.sleep(0.05)

    def _answer(self, seconds: float) -> str:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        end = time.monotonic() + seconds
        said = b""
        while not said.endswith(_PROMPT):
            left = end - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise Refused(f"testpmd does not answer: {said.decode(errors='replace')[-200:]}")
            more = os.read(descriptor, 1 << 16)
            if not more:
                raise Refused(f"testpmd ended: {said.decode(errors='replace').strip()[-300:]}")
            said += more
        return said.decode(errors="replace")

    def _kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Testpmd:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill()
