"""Five network namespaces with a router that FRR runs, and BGP peers that announce real prefixes.

h1 --- r ---- p1 (FRR) ---- h2          r runs examples/frr/frr.conf, word for word;
       +----- p2 (BIRD) ---- h2          every address that is announced leads to h2
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

import pytest
from shared_data import missing

from wirepath.lab import Lab

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "frr" / "frr.conf"
FRR = Path("/usr/lib/frr")
LINKS = [("r", "h1"), ("r", "p1"), ("r", "p2"), ("p1", "h2"), ("p2", "h2")]
HOSTS = ("r", "h1", "p1", "p2", "h2")


def tools_missing() -> str | None:
    """What is not installed, or None."""
    for path, package in ((FRR / "zebra", "frr"), (FRR / "bgpd", "frr")):
        if not path.exists():
            return f"{path} is not there (apt install {package})"
    if not list(Path("/usr/lib").glob("*/frr/modules/dplane_fpm_nl.so")):
        return "FRR's module dplane_fpm_nl is not there (apt install frr)"
    if bird() is None:
        return "bird is not there (apt install bird2)"
    return None


def need_tools() -> None:
    """Ends this test where something is not installed: a skip, and a failure under CI, where
    ./dev test installs FRR and BIRD."""
    if why := tools_missing():
        missing(why)


def bird() -> str | None:
    """Where BIRD is."""
    return shutil.which("bird") or shutil.which("bird", path="/usr/sbin")


def wait_for(what: str, check: Callable[[], Any], limit: float = 120, every: float = 0.05) -> Any:
    """What `check` gives, once it is true."""
    end = time.monotonic() + limit
    while not (value := check()):
        if time.monotonic() > end:
            pytest.fail(f"waited {limit:g} s for {what}")
        time.sleep(every)
    return value


class BgpLab:
    """The lab, with its daemons; everything ends and is removed with it."""

    def __init__(self, name: str, prefixes: list[str], hold: int = 9) -> None:
        self.prefixes = prefixes
        self.hold = hold  # seconds without a word after which a BGP session ends
        self._stack = ExitStack()
        self._lab = Lab(name, HOSTS, links=LINKS, routes=False)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._forwarding: subprocess.Popen[bytes] | None = None
        self._pinned = False

    def __enter__(self) -> Self:
        try:
            self._lab = self._stack.enter_context(self._lab)
            self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bgp")))
            self.folder.chmod(0o755)
            self._stack.callback(self._end_daemons)
            self._plumb()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- processes -------------------------------------------------------------------------------
    def popen(self, host: str, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return self._lab[host].popen(command, **options)

    def run(self, host: str, *command: str, check: bool = True, timeout: float = 300) -> str:
        """Output of a command on a host."""
        done = self._lab[host].run(command, capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return str(done.stdout)

    def _end_daemons(self) -> None:
        for child in self._daemons.values():
            child.terminate()
        for child in self._daemons.values():
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _plumb(self) -> None:
        for host in ("r", "p1", "p2"):
            self.run(host, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            self.run(host, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        self.run("h1", "ip", "route", "add", "default", "via", "10.77.0.1")
        self.run("h1", "ip", "-6", "route", "add", "default", "via", "fd57:6972:6570::1")
        for k, host in ((3, "p1"), (4, "p2")):
            self.run(host, "ip", "route", "add", "default", "via", f"10.77.{k}.2")
            self.run(host, "ip", "-6", "route", "add", "default", "via", f"fd57:6972:6570:{k}::2")
        # Every address is h2's own, and packets come from such ones.
        self.run("h2", "sysctl", "-qw", "net.ipv4.conf.all.accept_local=1")
        self.run("h2", "ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo")
        self.run("h2", "ip", "-6", "route", "add", "local", "::/0", "dev", "lo")

    # --- daemons ---------------------------------------------------------------------------------
    def _place(self, host: str) -> Path:
        path = self.folder / host
        if not path.exists():
            path.mkdir()
            if host != "p2":  # FRR's daemons become this user
                shutil.chown(path, "frr", "frr")
        return path

    def _frr_daemon(self, host: str, name: str, *words: str) -> None:
        place = self._place(host)
        log = (place / f"{name}.log").open("ab")
        command = [str(FRR / name), "-A", "127.0.0.1", "-P", "0"]
        command += ["--vty_socket", str(place), "-z", str(place / "zserv"), "-f", "/dev/null"]
        command += ["-i", str(place / f"{name}.pid"), "--log", "stdout", *words]
        with log:
            self._daemons[f"{host} {name}"] = self.popen(host, command, stdout=log, stderr=log)

    def _wait_daemon(self, name: str, socket: Path) -> None:
        def there() -> bool:
            log = socket.parent / f"{name.split()[1]}.log"
            assert self._daemons[name].poll() is None, f"{name} ended: {log.read_text()}"
            return socket.exists()

        wait_for(name, there)

    def vtysh(self, host: str, *commands: str, config: Path | None = None) -> str:
        """What vtysh says to commands, or to a file of configuration."""
        words = ["vtysh", "--vty_socket", str(self._place(host))]
        words += ["-f", str(config)] if config else [w for c in commands for w in ("-c", c)]
        return self.run(host, *words, timeout=300)

    def start_frr(self, host: str, config: Path) -> None:
        """zebra, then bgpd, then the configuration."""
        place = self._place(host)
        zebra = ["-s", "90000000", "-K", "60"]
        if host == "r":
            zebra += ["-M", "dplane_fpm_nl"]
        self._frr_daemon(host, "zebra", *zebra)
        self._wait_daemon(f"{host} zebra", place / "zebra.vty")
        self._frr_daemon(host, "bgpd", "-p", "179")
        self._wait_daemon(f"{host} bgpd", place / "bgpd.vty")
        self.vtysh(host, config=config)

    def kill_frr(self, host: str) -> None:
        """Without a word to anybody, as a crash."""
        for name in ("bgpd", "zebra"):
            child = self._daemons.pop(f"{host} {name}")
            child.kill()
            child.wait()
            (self._place(host) / f"{name}.vty").unlink(missing_ok=True)

    def start_router(self) -> None:
        config = CONFIG
        if self.hold != 9:  # else word for word
            config = self._place("r") / "frr.conf"
            ours = f"timers bgp {self.hold // 3} {self.hold}"
            config.write_text(CONFIG.read_text().replace("timers bgp 3 9", ours))
        self.start_frr("r", config)

    def start_p1(self, prefixes: list[str]) -> None:
        """FRR, which announces these: they are in its kernel, as there is no faster way in."""
        for family, gateway in (("-4", "10.77.3.2"), ("-6", "fd57:6972:6570:3::2")):
            some = [p for p in prefixes if (":" in p) == (family == "-6")]
            file = self._place("p1") / f"routes{family}"
            file.write_text("".join(f"route add {p} via {gateway}\n" for p in some))
            self.run("p1", "ip", family, "-batch", str(file), timeout=900)
        config = self._place("p1") / "frr.conf"
        config.write_text(
            f"""\
ip prefix-list routes4 permit 0.0.0.0/0 ge 1
ipv6 prefix-list routes6 permit ::/0 ge 1
route-map routes4 permit 1
 match ip address prefix-list routes4
 set origin igp
exit
route-map routes6 permit 1
 match ipv6 address prefix-list routes6
 set origin igp
exit
router bgp 65001
 bgp router-id 10.77.1.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp graceful-restart
 timers bgp {self.hold // 3} {self.hold}
 neighbor 10.77.1.1 remote-as 65000
 neighbor 10.77.1.1 timers connect 1
 neighbor fd57:6972:6570:1::1 remote-as 65000
 neighbor fd57:6972:6570:1::1 timers connect 1
 address-family ipv4 unicast
  neighbor 10.77.1.1 activate
  redistribute kernel route-map routes4
 exit-address-family
 address-family ipv6 unicast
  neighbor fd57:6972:6570:1::1 activate
  redistribute kernel route-map routes6
 exit-address-family
exit
"""
        )
        self.start_frr("p1", config)

    def write_bird(self, prefixes: list[str]) -> Path:
        """BIRD's configuration with these announced."""
        place = self._place("p2")
        for family, gateway in ((4, "10.77.4.2"), (6, "fd57:6972:6570:4::2")):
            lines = [f"route {p} via {gateway};" for p in prefixes if (":" in p) == (family == 6)]
            (place / f"routes{family}").write_text("\n".join(lines) + "\n")
        config = place / "bird.conf"
        config.write_text(
            f"""\
router id 10.77.2.2;
protocol device {{ scan time 1; }}
protocol static s4 {{
  ipv4;
include "{place}/routes4";
}}
protocol static s6 {{
  ipv6;
include "{place}/routes6";
}}
template bgp upstream {{
  local as 65002;
  graceful restart on;
  hold time {self.hold}; keepalive time {self.hold // 3};
  connect delay time 1; connect retry time 1; error wait time 1, 2;
}}
protocol bgp r4 from upstream {{
  neighbor 10.77.2.1 as 65000;
  ipv4 {{ import none; export all; next hop self; }};
}}
protocol bgp r6 from upstream {{
  neighbor fd57:6972:6570:2::1 as 65000;
  ipv6 {{ import none; export all; next hop self; }};
}}
"""
        )
        return config

    def start_p2(self, prefixes: list[str]) -> None:
        """BIRD, which announces these."""
        place = self._place("p2")
        config = self.write_bird(prefixes)
        log = (place / "bird.log").open("ab")
        command = [str(bird()), "-f", "-c", str(config), "-s", str(place / "bird.ctl")]
        command += ["-P", str(place / "bird.pid")]
        with log:
            self._daemons["p2 bird"] = self.popen("p2", command, stdout=log, stderr=log)
        self._wait_daemon("p2 bird", place / "bird.ctl")

    def birdc(self, *words: str) -> str:
        return self.run("p2", "birdc", "-s", str(self._place("p2") / "bird.ctl"), *words)

    def announce_p2(self, prefixes: list[str]) -> None:
        """BIRD announces these now, and no others."""
        self.write_bird(prefixes)
        self.birdc("configure")

    # --- wirepath's forwarding -------------------------------------------------------------------
    def no_offloads(self) -> None:
        """A veth pair carries checksums that nobody has worked out, and frames that are merged."""
        off = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")
        for host, name in (("h1", "wp0"), ("p1", "wp0"), ("p2", "wp0")):
            self.run(host, "ethtool", "-K", name, *off)

    def start_forwarding(self, *words: str) -> None:
        """`wirepath route run` on all links of the router, in force when this returns."""
        self.no_offloads()
        command = [sys.executable, "-m", "wirepath", "route", "run", "wp0", "wp1", "wp2"]
        command += ["--attach", "generic", *words, "--json"]
        self._pinned |= "--pin" in words
        child = self.popen("r", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._forwarding = child
        assert child.stderr is not None
        line = child.stderr.readline()
        assert b" on wp0 " in line, line + child.stderr.read()
        # What it says later is not read: the pipe holds it.

    def unpin(self) -> None:
        """Nothing is left on the router's links of what was pinned there."""
        if not self._pinned:
            return
        command = [sys.executable, "-m", "wirepath", "route", "stop", "wp0", "wp1", "wp2"]
        self.run("r", *command, check=False)
        self._pinned = False

    def end_forwarding(self, how: signal.Signals) -> None:
        """Sends it a signal, and waits for its end; what is pinned stays."""
        child, self._forwarding = self._forwarding, None
        assert child is not None
        child.send_signal(how)
        child.communicate(timeout=300)

    def forwarding_resident(self) -> int | None:
        """Its memory in bytes, without that of the maps, which are the kernel's; None where none
        runs."""
        if self._forwarding is None:
            return None
        lines = Path(f"/proc/{self._forwarding.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))

    def stop_forwarding(self) -> dict[str, Any]:
        """What it reports at its end; {} where none runs."""
        child, self._forwarding = self._forwarding, None
        if child is None:
            return {}
        child.terminate()
        out, err = child.communicate(timeout=300)
        assert child.returncode == 130, err
        said: dict[str, Any] = json.loads(out)
        return said

    # --- the router's kernel ---------------------------------------------------------------------
    def bgp_routes(self, family: str = "-4") -> int:
        """How many routes of BGP's are in the kernel."""
        return len(self.run("r", "ip", "-o", family, "route", "show", "proto", "bgp").splitlines())

    def prefixes_held(self) -> dict[int, int]:
        """How many prefixes the kernel's tables have by family, whosever: counters that it keeps
        (table main of IPv4, all tables of IPv6)."""
        tries = self.run("r", "cat", "/proc/net/fib_triestat").partition("Main:")[2]
        four = next(line for line in tries.splitlines() if "Prefixes:" in line)
        six = self.run("r", "cat", "/proc/net/rt6_stats").split()[3]
        return {4: int(four.split()[-1]), 6: int(six, 16)}


def split(prefixes: list[str]) -> tuple[list[str], list[str]]:
    """What p1 announces and what p2 does: a third each alone, and a third both."""
    one = [p for i, p in enumerate(prefixes) if i % 3 != 2]
    return one, [p for i, p in enumerate(prefixes) if i % 3 != 0]


def usable(prefixes: list[str]) -> list[str]:
    """Those that are not the lab's own, nor of a kind that a router does not take."""
    own = [ip_network("10.77.0.0/16"), ip_network("fd00::/8")]
    nets = [ip_network(p) for p in prefixes]
    return [
        str(n)
        for n in nets
        if n.prefixlen > 0
        and not any(n.version == o.version and n.overlaps(o) for o in own)
        and not (n.is_multicast or n.is_loopback or n.is_link_local)
    ]


def addresses_in(prefixes: list[str], most: int = 250) -> list[str]:
    """One address of each of some prefixes, of the families in turns."""
    chosen = []
    for six in (False, True):
        some = [p for p in prefixes if (":" in p) == six]
        nets = [ip_network(p) for p in some[:: max(1, len(some) // most)]][:most]
        chosen.append([str(n[1] if n.num_addresses > 1 else n[0]) for n in nets])
    return [a for pair in zip(*chosen, strict=False) for a in pair]
