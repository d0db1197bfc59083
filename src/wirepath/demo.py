"""The demo: one generated day, taken in first over a kernel socket, then over AF_XDP.

Run by ``wirepath demo``. In a lab of two hosts where one can be made; over loopback, by socket
only, otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .config import IngestionConfig
from .ingestion import RingBuffer
from .lab import Lab, unavailable_reason
from .measure import Progress, Run, measure, unique_port
from .publish import PublishConfig
from .registry import backends
from .report import write

_GROUP = "239.87.80.2"

#: What each phase shows while it runs: its title, and a context for the live table.
Stage = Callable[[str], Progress | None]


@dataclass
class Demo:
    """What was run, what was written, and what could not be shown here."""

    runs: list[Run] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_demo(
    directory: Path,
    *,
    seconds: float = 10.0,
    rate: float = 200_000.0,
    seed: int = 1,
    stage: Stage | None = None,
) -> Demo:
    """Publish ``rate`` messages a second for ``seconds`` to each backend and write the report
    into ``directory``. stage: called as each phase begins, gives the progress callback."""
    demo = Demo()
    refusal = unavailable_reason()
    plan = ["socket"]
    status = next(b for b in backends() if b.name == "af_xdp")
    if refusal is not None:
        demo.notes.append(
            f"Loopback and sockets only: {refusal}. As root, the same day goes over a veth pair "
            "between two network namespaces, and AF_XDP takes it in as well."
        )
    elif not status.available:
        demo.notes.append(f"Sockets only: {status.reason} ({status.mend})")
    else:
        plan.append("af_xdp")
    messages = max(int(rate * seconds), 4 * 500 + 16)
    port = unique_port()
    with ExitStack() as stack:
        net = None
        if refusal is None:
            net = stack.enter_context(Lab(f"demo{port}"))
        for backend in plan:
            sender = f"socket:{net['a'].interface.name}" if net else "socket:lo"
            where = "from host a to host b" if net else "over loopback"
            title = f"{backend}: {messages:,} messages {where}"
            run = measure(
                IngestionConfig(
                    backend=backend,
                    interface_name=net["b"].interface.name if net else "lo",
                    host=_GROUP,
                    port=port,
                ),
                PublishConfig(
                    host=_GROUP, port=port, via=sender, rate=rate, messages=messages, seed=seed
                ),
                receiver=net["b"] if net else None,
                sender=net["a"] if net else None,
                ring=RingBuffer(1 << 17),
                max_seconds=seconds * 2 + 5,
                on_progress=stage(title) if stage else None,
            )
            demo.runs.append(run)
            if run.interrupted:
                break
    demo.files = write(demo.runs, directory, demo.notes)
    return demo
