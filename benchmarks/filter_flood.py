# SPDX-License-Identifier: Apache-2.0
"""How many requests of a TCP service survive a flood, with the filter and without.

The flood is the in-kernel source of the packet benchmarks, as fast as it can be, on the first
processor. The lab's interfaces have two queues, as a NIC has several: the flood, one flow, is
polled on the first processor, and what client and server send on the second, which is theirs.
What the driver does not drop is the host's stack's work. Twice:

- spread: receive packet steering brings it to the processor of the service;
- apart: it is done where the queue is polled, and the flood never comes near the service.

With one queue there would be one NAPI for both, which runs wherever it was last scheduled: at
times beside the service, at whatever rate the source on the other processor makes.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from . import build, process
from .harness import Contestant, Group, Line, Sample, Settings, Unavailable, two_processors

_SERVICE, _FLOODED = 8080, 9001
_CLIENTS = 16
_LEAD = 0.5  # seconds that the flood runs before the first request
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: to end with RST


def serve(port: int) -> None:
    """Answers a byte to each connection, one after the other, for as long as it is let."""
    with socket.create_server(("", port), backlog=1024) as server:
        print("ready", file=sys.stderr, flush=True)
        while True:
            with suppress(OSError):
                client, _ = server.accept()
                with client:
                    client.settimeout(1)
                    client.recv(1)
                    client.send(b"y")
                    client.recv(1)  # the end is the client's


def ask(host: str, port: int, seconds: float) -> int:
    """Transactions done by sixteen clients: connect, a byte there and back, reset.

    Were they closed, the ports that wait out their time would soon be all that is measured: the
    search for a free one.
    """
    end = time.monotonic() + seconds
    done = [0] * _CLIENTS

    def client(number: int) -> None:
        while (left := end - time.monotonic()) > 0:
            with suppress(OSError), socket.create_connection((host, port), timeout=left) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.settimeout(max(0.01, end - time.monotonic()))
                one.send(b"x")
                done[number] += one.recv(1) == b"y"

    clients = [threading.Thread(target=client, args=(i,)) for i in range(_CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return sum(done)


def _queues(host: Any, cpus: tuple[int, int], *, steered: int) -> None:
    """Its two queues to a processor each; what they receive to those of a mask, 0: to none."""
    words = ["mount -t sysfs none /sys", f"cd /sys/class/net/{host.interface.name}/queues"]
    for queue, cpu in enumerate(cpus):
        words.append(f"echo {1 << cpu:x} > tx-{queue}/xps_cpus")
        words.append(f"echo {steered:x} > rx-{queue}/rps_cpus")
    # The namespace's own sysfs, for this command alone.
    command = ["unshare", "-m", "sh", "-ec", "\n".join(words)]
    host.run(command, check=True, capture_output=True)


def _take_live_frames(host: Any) -> None:
    """Without XDP or GRO a veth takes none; an XDP program that goes leaves GRO off."""
    for state in ("off", "on"):
        words = ["ethtool", "-K", host.interface.name, "gro", state]
        host.run(words, check=True, capture_output=True)


def _survived(
    made: Any, settings: Settings, *, flood: bool, filtered: bool, spread: bool
) -> Sample:
    from wirepath.filter import Filter, FilterConfig, Rule  # noqa: PLC0415

    seconds = max(2.0, settings.seconds)
    a, b = made["a"], made["b"]
    module = [
        "taskset",
        "-c",
        str(settings.cpus[1]),
        sys.executable,
        "-m",
        "benchmarks.filter_flood",
    ]
    options: dict[str, Any] = {"cwd": process.ROOT, "env": process.ENVIRONMENT, "text": True}
    with ExitStack() as stack:
        server = b.popen([*module, "serve", str(_SERVICE)], stderr=subprocess.PIPE, **options)
        stack.callback(server.wait)
        stack.callback(server.kill)
        assert server.stderr.readline().strip() == "ready"
        one = None
        if filtered:
            stack.enter_context(b.enter())
            rule = Rule(protocol="udp", destination_port=_FLOODED)
            one = stack.enter_context(Filter(FilterConfig(rules=(rule,))))
            one.attach(b.interface.name)
        else:
            _take_live_frames(b)
        _queues(a, settings.cpus, steered=0)
        _queues(b, settings.cpus, steered=1 << settings.cpus[1] if spread else 0)
        source = None
        if flood:
            words = [build.reference("live_frames"), "--ifname", a.interface.name]
            words += ["--dst-ip", b.interface.ipv4, "--dst-mac", b.interface.mac]
            words += ["--dport", str(_FLOODED), "--cpu", str(settings.cpus[0])]
            words += ["--seconds", str(seconds + 1 + _LEAD), "--rate", "0"]
            source = a.popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
            time.sleep(_LEAD)
        words = [*module, "ask", b.interface.ipv4, str(_SERVICE), str(seconds)]
        asked = a.run(words, capture_output=True, timeout=seconds + 30, **options)
        done, note = int(asked.stdout), ""
        if source is not None:
            out, err = source.communicate(timeout=seconds + 30)
            sent = process.parse("live_frames", source.returncode, out, err)
            offered = sent["packets"] / sent["seconds"] / 1e6
            taken = (sent["packets"] - sent["drops"]) / sent["seconds"] / 1e6
            note = f"flood: {offered:.2f} M packets/s offered, {taken:.2f} M taken by the driver"
            if one is not None:
                dropped = one.counters()["drop.rule"] / sent["seconds"] / 1e6
                note += f", {dropped:.2f} M dropped by the filter"
        return Sample({"rate": done / seconds}, note=note)


@contextmanager
def _service(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    from wirepath import lab  # noqa: PLC0415
    from wirepath.programs import kernel  # noqa: PLC0415

    two_processors(settings)
    if why := kernel.unavailable_reason() or lab.unavailable_reason():
        raise Unavailable(why)
    with lab.Lab("wpbflood", queues=2) as made:
        run = partial(_survived, made, settings)
        yield {
            "quiet": partial(run, flood=False, filtered=False, spread=True),
            "unfiltered": partial(run, flood=True, filtered=False, spread=True),
            "filtered": partial(run, flood=True, filtered=True, spread=True),
            "unfiltered apart": partial(run, flood=True, filtered=False, spread=False),
            "filtered apart": partial(run, flood=True, filtered=True, spread=False),
        }


FILTER_FLOOD = Group(
    "filter_flood",
    (
        Line("filter_flood", "TCP transactions under a flood flat out, with the filter against "
             "without", "/s", "filtered", "unfiltered", "rate", 3.0),
        Line("filter_flood_quiet", "with flood and filter against no flood at all", "/s",
             "filtered", "quiet"),
        Line("filter_flood_apart", "the same where the stack's work stays with the flood's queue",
             "/s", "filtered apart", "unfiltered apart"),
    ),
    _service,
)  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print(ask(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
