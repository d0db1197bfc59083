"""A client, a router, balancers and servers, each in a namespace of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from shared_data import ROOT

from wirepath.lab import Lab

VIP, VIP6, PORT = "10.99.0.1", "2001:db8:99::1", 8000
SERVERS = ("s1", "s2", "s3", "s4")
PEERS = ROOT / "tests" / "balancer_peers.py"
WIREPATH = [sys.executable, "-m", "wirepath"]
MTU = 1600
BUSY = 4  # times as long as it takes on an idle machine


def wait_for(what: Callable[[], Any], seconds: float, why: str) -> Any:
    """The first true value. Fails after so long, on an idle machine, and much longer anyway."""
    end = time.monotonic() + BUSY * seconds
    while not (value := what()):
        assert time.monotonic() < end, f"after {BUSY * seconds} s: {why}"
        time.sleep(0.1)
    return value


class Clients:
    """Connections that are kept, and talked over in rounds."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.first = self._answer()

    def _answer(self) -> dict[str, dict[str, int]]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the clients have ended"
        return json.loads(line)

    def start(self, size: int, seconds: float = 60.0) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{size} {seconds}\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, dict[str, int]]:
        return self._answer()

    def round(self, size: int, seconds: float = 60.0) -> dict[str, dict[str, int]]:
        """alive: connections that got their bytes back within `seconds`, by server; dead: the
        others, and why."""
        self.start(size, seconds)
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20 * BUSY)


class BalancerLab:
    """mode: how servers are reached. With dsr all are on one switch, else around a router.
    families: of the VIP, and of the servers' addresses."""

    def __init__(
        self,
        name: str,
        folder: Path,
        mode: str,
        balancers: int = 1,
        families: tuple[int, int] = (4, 4),
    ) -> None:
        self.mode = mode
        self.families = families
        self.vip = VIP6 if families[0] == 6 else VIP
        self.folder = folder
        self.balancers = [f"lb{i + 1}" for i in range(balancers)]
        hosts = ["client", "router", *self.balancers, *SERVERS]
        if mode == "dsr":
            self.lab = Lab(name, [h for h in hosts if h != "router"], topology="lan")
        else:
            links = [("router", h) for h in hosts if h != "router"]
            self.lab = Lab(name, hosts, links=links, mtu=MTU)
        self._stack = ExitStack()
        self._log = (folder / "log").open("a")
        self.running: dict[str, subprocess.Popen[Any]] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self.lab)
        try:
            self._addresses()
            for server in SERVERS:
                self.serve(server)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        self._stack.close()
        self._log.close()

    # --- hosts -------------------------------------------------------------------------------

    def run(self, host: str, *command: str) -> str:
        done = self.lab[host].run(command, capture_output=True, text=True)
        assert done.returncode == 0, (host, command, done.stdout, done.stderr)
        return str(done.stdout)

    def start(self, name: str, host: str, *command: str, **options: Any) -> subprocess.Popen[Any]:
        options = {"stdout": self._log, "stderr": self._log, "cwd": ROOT} | options
        process = self.lab[host].popen(list(command), **options)
        self.running[name] = process
        return process

    def address(self, host: str) -> str:
        interface = self.lab[host].interface
        return str(interface.ipv6 if self.families[1] == 6 else interface.ipv4)

    def _to_vip(self, host: str, hop: Any) -> None:
        """A route to the VIP over an interface of the next host."""
        six = self.families[0] == 6
        route = (f"{self.vip}/{128 if six else 32}", "via", hop.ipv6 if six else hop.ipv4)
        self.run(host, "ip", "route", "add", *route)

    def _addresses(self) -> None:
        for server in SERVERS:
            if self.mode == "dsr":  # the VIP is not to be answered for on the switch
                for name, value in (("arp_ignore", 1), ("arp_announce", 2)):
                    self.run(server, "sysctl", "-qw", f"net.ipv4.conf.all.{name}={value}")
            # IPv6 answers for an address only where it is.
            prefix = f"{self.vip}/{128 if self.families[0] == 6 else 32}"
            self.run(server, "ip", "address", "add", prefix, "dev", "lo")
        if self.mode == "dsr":
            self._to_vip("client", self.lab["lb1"].interface)
            return
        # Clients' packets have room for an outer header on the wider links behind the router.
        for host in ("client", "router"):
            self.run(host, "ip", "link", "set", "wp0", "mtu", "1500")
        self._to_vip("client", self.lab["client"].interface.peer)
        self.run("router", "sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
        if len(self.balancers) == 1:
            self._to_vip("router", self.lab["lb1"].interface)

    def serve(self, server: str) -> None:
        """Its service, and the decapsulating program in front of it."""
        if self.mode != "dsr":
            endpoint = ("--endpoint", self.address(server), "--vip", self.vip)
            self.start(f"{server} decap", server, *WIREPATH, "lb", "decap", "wp0", *endpoint)
        script = (sys.executable, str(PEERS), "serve", server, self.vip, str(PORT))
        process = self.start(f"{server} service", server, *script, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    # --- balancers ---------------------------------------------------------------------------

    def config(self, **values: object) -> Path:
        """A configuration file; the same for every balancer."""
        lines = ["[balancer]", 'interface = "wp0"', f'mode = "{self.mode}"']
        if self.mode != "dsr":
            lines.append(f"mtu = {MTU}")
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        lines += ["[[balancer.vip]]", 'name = "web"', f'address = "{self.vip}"', f"port = {PORT}"]
        lines += ["check_interval = 1.0", "check_timeout = 1.0", "rise = 1", "fall = 6"]
        for server in SERVERS:
            lines += ["[[balancer.server]]", f'name = "{server}"']
            lines.append(f'address = "{self.address(server)}"')
        path = self.folder / f"balancer-{len(list(self.folder.iterdir()))}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def balance(self, host: str, config: Path, up: int = len(SERVERS)) -> subprocess.Popen[Any]:
        """A balancer that runs, with so many servers up."""
        process = self.start(host, host, *WIREPATH, "lb", "run", str(config))
        wait_for(lambda: self._up(host) == up, 40, f"{up} servers up at {host}: {self.log()}")
        return process

    def _up(self, host: str) -> int:
        done = self.lab[host].run([*WIREPATH, "lb", "show", "--json"], capture_output=True)
        if done.returncode:
            return -1
        return sum(s["state"] == "up" for s in json.loads(done.stdout)["vips"][0]["servers"])

    def ask(self, host: str, *command: str) -> dict[str, Any]:
        """``wirepath lb …`` there."""
        return json.loads(self.run(host, *WIREPATH, "lb", *command, "--json"))

    def states(self, host: str) -> Mapping[str, str]:
        servers = self.ask(host, "show")["vips"][0]["servers"]
        return {s["name"]: s["state"] for s in servers}

    def connect(self, count: int) -> Clients:
        script = (sys.executable, str(PEERS), "connect", self.vip, str(PORT))
        name = f"clients {len(self.running)}"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return Clients(self.start(name, "client", *script, str(count), **pipes))

    def log(self) -> str:
        self._log.flush()
        return (self.folder / "log").read_text()[-3000:]

    def kill(self, name: str) -> None:
        process = self.running[name]
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
