"""One namespace's process of the tests of the user-space router.

    route_user_process.py router '{"interfaces": …}'      a Router with this configuration
    route_user_process.py wire PORT NAME ADDRESS…         a TAP device at the end of a port

Says `ready`; answers each line of standard input with one of JSON; ends with standard input, and
tells then what it did.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def converse(answer: Callable[[], Any]) -> None:
    """A line for every line, until there are no more."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(answer()), flush=True)


def router(config: str) -> None:
    from wirepath.route.config import RouterConfig
    from wirepath.route.router import Router

    made = Router(
        RouterConfig(**json.loads(config)), heard=lambda text: print(text, file=sys.stderr)
    )
    with made:
        converse(made.show)
    print(json.dumps(made.report), flush=True)


def wire(spec: str, name: str, *addresses: str) -> None:
    """All frames of the port to the device, and the other way."""
    import subprocess

    import wirepath as wp
    from wirepath import programs
    from wirepath.hosts import HostPort

    with wp.open(spec, steer=wp.everything()) as port, HostPort(name) as host:
        for each in addresses:
            quick = ["nodad"] if ":" in each else []
            subprocess.run(["ip", "addr", "add", each, "dev", name, *quick], check=True)
        worker = wp.Worker("wire")
        worker.add_host(worker.add_port(port), host)
        worker.add_stage(programs.native("count").stage())  # it leaves everything undecided
        with worker:
            converse(worker.stats)
        print(json.dumps({"port": port.stats(), "host": host.stats()}), flush=True)


def main() -> None:
    {"router": router, "wire": wire}[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
