"""What runs in the lab of `bgp_lab` beside its daemons: wirepath that answers, and traffic."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bgp_lab import BgpLab

_HERE = Path(__file__).resolve().parent
FOLLOW = _HERE / "route_follow.py"
_SECONDS = 60.0  # for a process to end by itself
TRAFFIC = _HERE / "route_traffic.py"


class Asked:
    """A process in the router's namespace that answers each line of JSON with one."""

    def __init__(self, lab: BgpLab, *command: str | Path) -> None:
        words = [sys.executable, *map(str, command)]
        self._child = lab.popen("r", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, what: str, **words: object) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"what": what, **words}).encode() + b"\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"{self._child.args} ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


class Follower(Asked):
    """wirepath in the router's namespace: follows routes, and answers questions (route_follow)."""

    def __init__(self, lab: BgpLab, source: str, plane: str = "") -> None:
        super().__init__(lab, FOLLOW, source, *([plane] if plane else []))

    def wait_equal(self, limit: float = 120) -> dict[str, Any]:
        """Waits until the tables are the kernel's."""
        said: dict[str, Any] = {}

        def equal() -> bool:
            said.update(self.ask("tables"))
            return not said["wrong"]

        end = time.monotonic() + limit
        while not equal():
            assert time.monotonic() < end, said
            time.sleep(0.2)
        return said


class Traffic:
    """Datagrams from h1 to h2 through the router, while something happens to it."""

    def __init__(
        self, lab: BgpLab, addresses: list[str], rate: int = 2000, *, record: bool = False
    ) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        file = lab.folder / "destinations"
        file.write_text("\n".join(addresses))
        command = [sys.executable, str(TRAFFIC)]
        files = [str(lab.folder / name) for name in ("sent", "received") if record]
        self._receiver = lab.popen("h2", [*command, "receive", *files[1:]], **pipes)
        assert self._receiver.stdout is not None
        assert self._receiver.stdout.readline() == b"ready\n"
        words = ["send", str(rate), str(file), *files[:1]]
        self._sender = lab.popen("h1", [*command, *words], **pipes)

    def stop(self) -> dict[str, float]:
        """How many were sent, received and lost, of IPv6 by themselves too (`…6`), and the longest
        silence in seconds."""
        said: dict[str, float] = {}
        for child in (self._sender, self._receiver):
            out, _ = child.communicate(timeout=300)
            said |= json.loads(out)
        said["lost"] = said["sent"] - said["received"]
        said["lost6"] = said["sent6"] - said["received6"]
        return said
