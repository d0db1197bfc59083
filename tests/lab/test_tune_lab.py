# SPDX-License-Identifier: Apache-2.0
"""Tuning for real: a veth in a lab's namespace, killed at every step, and every value back."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tune_fakes import journal_folder

from wirepath import tune
from wirepath.errors import ConfigError
from wirepath.lab import Host, Lab

pytestmark = pytest.mark.lab

# Every kind of knob that a veth and its namespace have.
PROFILE = """
[tune]
description = "all that a veth has"
channels = 2
cores = "0"
xps = "spread"
rps = "cores"
napi_defer_hard_irqs = 3
gro_flush_timeout_ns = 150000
[tune.features]
rx-gro = false
tx-nocache-copy = true
tx-generic-segmentation = false
[tune.sysctls]
"net.ipv4.tcp_rmem" = "4096 99999 7777777"
"net.ipv4.tcp_autocorking" = 0
"net.ipv4.udp_rmem_min" = 8192
"net.core.somaxconn" = 8123
"vm.swappiness" = 1
[tune.sysctls_at_least]
"net.ipv4.igmp_max_memberships" = 1234
"net.core.rmem_max" = 1000000000
"""
CHANGES = 2 + 3 + 2 + 2 * 2 + 4 + 1  # as above: channels, features, NAPI, masks, sysctls

# What a host had before it is tuned: masks on all four queues, two of which will go.
XPS = {0: "3", 1: "2", 2: "3", 3: "2"}
RPS = {0: "0", 1: "2", 2: "0", 3: "3"}


@pytest.fixture(autouse=True, scope="module")
def _ethtool() -> None:
    if shutil.which("ethtool") is None:
        pytest.skip("ethtool is not installed (apt install ethtool)")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab("wptune", queues=4) as lab:
        with lab["a"].enter(), tune.this_machine() as machine:
            for number in range(4):
                for direction, masks in (("tx", XPS), ("rx", RPS)):
                    file = f"queues/{direction}-{number}/{direction[0].replace('t', 'x')}ps_cpus"
                    machine.write(tune.Knob("netdev", file, "wp0"), masks[number])
        yield lab["a"]


@pytest.fixture
def state() -> Iterator[Path]:
    with journal_folder() as folder:
        yield folder


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    file = tmp_path / "veth.toml"
    file.write_text(PROFILE)
    return file


def everything(host: Host) -> dict[str, str]:
    """All of the namespace's sysctls, and all that the interface shows of itself, as the kernel
    and ethtool say it: not by the readers under test."""
    script = (
        "mount -t sysfs none /sys; cd /proc/sys/net; "
        'grep -rs . core ipv4 | grep -v "route/flush\\|random\\|netdev_rss_key"; '
        "cd /sys/class/net/wp0; "
        "grep -s . napi_defer_hard_irqs gro_flush_timeout threaded mtu tx_queue_len "
        "queues/*/*ps_* ; ethtool -k wp0; ethtool -l wp0"
    )
    done = host.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    out = {}
    section = ""
    for line in done.stdout.splitlines():
        name, _, value = line.partition(":")
        if not value.strip():
            section = name
        out[f"{section} {name}"] = value.strip()
    assert len(out) > 200, done.stderr
    return out


def planned(host: Host, profile: Path) -> tune.Plan:
    with host.enter():
        return tune.plan(profile, "wp0")


def test_tune_verify_restore(host: Host, profile: Path, state: Path) -> None:
    before = everything(host)
    plan = planned(host, profile)
    assert len(plan.changes) == CHANGES
    assert plan.driver == ""
    assert not plan.first_namespace
    impossible = {str(s.knob) for s in plan.settings if s.state == "impossible"}
    assert impossible == {"sysctl vm.swappiness", "sysctl net.core.rmem_max"}
    with host.enter():
        outcome = tune.apply(plan, state_dir=state)
    assert outcome.ok, outcome
    assert sum(a.result == "applied" for a in outcome.settings) == CHANGES
    during = everything(host)
    for line, value in {
        " napi_defer_hard_irqs": "3",
        " gro_flush_timeout": "150000",
        " queues/tx-1/xps_cpus": "1",
        " queues/rx-0/rps_cpus": "1",
        " core/somaxconn": "8123",
        " ipv4/tcp_rmem": "4096\t99999\t7777777",
        " ipv4/igmp_max_memberships": "1234",
    }.items():
        assert during[line] == value, line
    assert " queues/tx-2/xps_cpus" not in during
    assert during["Features for wp0 generic-receive-offload"] == "off"
    with host.enter():
        done = tune.restore(state_dir=state)
    assert done.ok, done
    assert everything(host) == before
    assert list(state.glob("*.jsonl")) == []


DIE = """
import os, signal, sys
from pathlib import Path
from wirepath import tune
left, what, profile, state = int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
def progress(step):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
if what == "apply":
    tune.apply(tune.plan(profile, "wp0"), state_dir=state, progress=progress)
else:
    tune.restore(state_dir=state, progress=progress)
"""


def dies_at(host: Host, step: int, what: str, profile: Path, state: Path) -> None:
    done = host.run(
        [sys.executable, "-c", DIE, str(step), what, str(profile), str(state)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("step", range(3 * CHANGES))
def test_kill_9_at_every_step(host: Host, profile: Path, state: Path, step: int) -> None:
    before = everything(host)
    dies_at(host, step, "apply", profile, state)
    assert (everything(host) != before) == (step > 0)  # at 0 it is written down, not yet changed
    with host.enter():
        done = tune.restore(state_dir=state)
    assert done.ok, done
    assert everything(host) == before
    assert list(state.glob("*.jsonl")) == []


@pytest.mark.parametrize("step", range(0, 3 * CHANGES, 4))
def test_kill_9_in_a_restore(host: Host, profile: Path, state: Path, step: int) -> None:
    before = everything(host)
    with host.enter():
        assert tune.apply(tune.plan(profile, "wp0"), state_dir=state).ok
    dies_at(host, step, "restore", profile, state)
    with host.enter():
        done = tune.restore(state_dir=state)
    assert done.ok, done
    assert everything(host) == before


def in_sysfs(host: Host, command: str) -> subprocess.CompletedProcess[str]:
    """Run in the host's network with its own /sys, as `ip netns exec` does."""
    shell = ["unshare", "--mount", "sh", "-c", f"mount -t sysfs none /sys\n{command}"]
    return host.run(shell, capture_output=True, text=True, timeout=60)


def script_of(plan: tune.Plan) -> str:
    return tune.emit(plan, "script")


def unit_of(plan: tune.Plan) -> str:
    """The commands of the unit, as systemd takes them apart (systemd.service(5))."""
    lines = [x for x in tune.emit(plan, "systemd").splitlines() if x.startswith("ExecStart=-")]
    words = [shlex.split(x.removeprefix("ExecStart=-")) for x in lines]
    return "set -e\n" + "".join(
        shlex.join(w.replace("%%", "%").replace("$$", "$") for w in each) + "\n" for each in words
    )


def rule_of(plan: tune.Plan) -> str:
    """The udev rule as commands: attributes first, then the programs, as udev does."""
    attributes, programs = [], []
    for line in tune.emit(plan, "udev").splitlines():
        if line.startswith("#"):
            continue
        if found := re.search(r'ATTR\{([^}]+)\}="([^"]*)"$', line):
            attributes.append(f"echo {found[2]} > /sys/class/net/wp0/{found[1]}\n")
        elif found := re.search(r'RUN\+="([^"]*)"$', line):
            programs.append(found[1].replace("$name", "wp0") + "\n")
        else:
            pytest.fail(line)
    return "set -e\n" + "".join(attributes + programs)


@pytest.mark.parametrize("form", [script_of, unit_of, rule_of])
def test_what_is_emitted_sets_what_apply_sets(
    host: Host, profile: Path, state: Path, form: Callable[[tune.Plan], str]
) -> None:
    before = everything(host)
    plan = planned(host, profile)
    with host.enter():
        assert tune.apply(plan, state_dir=state).ok
        applied = everything(host)
        assert tune.restore(state_dir=state).ok
    assert everything(host) == before
    expected = applied
    if form is rule_of:  # which is of the interface alone
        sysctls = {k: v for k, v in before.items() if k.startswith((" core/", " ipv4/"))}
        expected = applied | sysctls
    with host.enter(), tune.this_machine() as machine:
        saved = {s.knob: machine.read(s.knob) for s in plan.changes}
        kept = {
            tune.Knob("netdev", f"queues/{d}-{n}/{f}", "wp0"): masks[n]
            for d, f, masks in (("tx", "xps_cpus", XPS), ("rx", "rps_cpus", RPS))
            for n in (2, 3)
        }
        try:
            done = in_sysfs(host, form(plan))
            assert (done.returncode, done.stderr) == (0, "")
            assert everything(host) == expected
            if form is script_of:  # a second time is no harm
                done = in_sysfs(host, form(plan))
                assert (done.returncode, done.stderr) == (0, "")
        finally:
            for knob, value in [*reversed(saved.items()), *kept.items()]:
                machine.write(knob, value)
    assert everything(host) == before


def test_the_script_refuses_another_interface(host: Host, profile: Path) -> None:
    before = everything(host)
    done = in_sysfs(host, script_of(planned(host, profile)).replace("02:57:50", "02:57:51"))
    assert done.returncode == 3
    assert "wp0 is not the interface meant" in done.stderr
    assert everything(host) == before


def test_the_default_route_is_left_alone(host: Host, profile: Path, state: Path) -> None:
    def ip(*words: str) -> None:
        host.run(["ip", *words], check=True)

    for family, via in (("-4", "10.77.0.2"), ("-6", "fd57:6972:6570:0::2")):
        ip(family, "route", "add", "default", "via", via, "dev", "wp0", "table", "99")
        try:
            before = everything(host)
            plan = planned(host, profile)
            assert plan.carries_default_route
            with host.enter(), pytest.raises(ConfigError, match="--yes-this-one"):
                tune.apply(plan, state_dir=state)
            assert everything(host) == before
        finally:
            ip(family, "route", "del", "default", "table", "99")
    assert not planned(host, profile).carries_default_route


def test_the_default_route_is_seen_through_a_bridge(lab_name: str, state: Path) -> None:
    with Lab(lab_name) as lab, lab["a"].enter():

        def ip(*words: str) -> None:
            subprocess.run(["ip", *words], check=True)

        ip("link", "add", "br0", "type", "bridge")
        ip("link", "set", "wp0", "master", "br0")
        ip("link", "set", "br0", "up")
        ip("address", "add", "10.99.0.1/24", "dev", "br0")
        assert not tune.plan("latency", "wp0").carries_default_route
        ip("route", "add", "default", "via", "10.99.0.2", "dev", "br0")
        plan = tune.plan("latency", "wp0")
        assert plan.carries_default_route
        with pytest.raises(ConfigError, match="--yes-this-one"):
            tune.apply(plan, state_dir=state)
        # Said on purpose, it is done; and undone without another word.
        assert tune.apply(plan, state_dir=state, yes_this_one=True).ok
        assert tune.restore(state_dir=state).ok


def test_coalescing_of_a_tap(lab_name: str, state: Path) -> None:
    """The one virtual device with coalescing: received frames a batch, 64 at most."""
    with Lab(lab_name) as lab, lab["a"].enter():

        def frames() -> str:
            text = subprocess.check_output(["ethtool", "-c", "tap0"], text=True)
            return re.search(r"^rx-frames:\s*(\S+)", text, re.MULTILINE)[1]

        subprocess.run(["ip", "tuntap", "add", "tap0", "mode", "tap"], check=True)
        subprocess.run(["ethtool", "-C", "tap0", "rx-frames", "7"], check=True)
        plan = tune.plan(tune.Profile(coalescing={"rx-frames": 32, "rx-usecs": 5}), "tap0")
        told = {s.name: (s.state, s.current, s.obstacle) for s in plan.settings}
        assert told == {
            "rx-frames": ("change", "7", None),
            "rx-usecs": ("impossible", None, "the driver of tap0 has no rx-usecs (ethtool -c)"),
        }
        assert tune.apply(plan, state_dir=state).ok
        assert frames() == "32"
        assert tune.restore(state_dir=state).ok
        assert frames() == "7"
        # More than the driver takes is told as what the driver made of it, and undone.
        plan = tune.plan(tune.Profile(coalescing={"rx-frames": 1000}), "tap0")
        outcome = tune.apply(plan, state_dir=state)
        assert [(a.result, a.now) for a in outcome.settings] == [("differs", "64")]
        assert frames() == "64"
        assert tune.restore(state_dir=state).ok
        assert frames() == "7"


def test_other_hands_in_the_lab(host: Host, profile: Path, state: Path) -> None:
    before = everything(host)
    with host.enter():
        tune.apply(tune.plan(profile, "wp0"), state_dir=state)
        Path("/proc/sys/net/core/somaxconn").write_text("555")
        done = tune.restore(state_dir=state)
        assert [(str(k.knob), k.now) for k in done.knobs if k.result == "changed"] == [
            ("sysctl net.core.somaxconn", "555")
        ]
        assert tune.restore(state_dir=state, force=True).ok
    assert everything(host) == before


def test_an_interface_that_came_anew_is_not_touched(
    lab_name: str, profile: Path, state: Path
) -> None:
    with Lab(lab_name, queues=4) as lab, lab["a"].enter():
        tune.apply(tune.plan(profile, "wp0"), state_dir=state)

        def ip(*words: str) -> None:
            subprocess.run(["ip", *words], check=True)

        ip("link", "del", "wp0")
        ip("link", "add", "wp0", "address", lab["a"].interface.mac, "type", "veth",
           "peer", "name", "wp9")  # fmt: skip
        done = tune.restore(state_dir=state)
        assert done.ok
        gone = {k.result for k in done.knobs if k.knob.interface}
        assert gone == {"gone"}
        back = [k.result for k in done.knobs if not k.knob.interface]
        assert back == ["restored"] * 5


def test_another_namespace_is_told_and_not_restored(
    lab_name: str, host: Host, profile: Path, state: Path
) -> None:
    with Lab(lab_name, queues=4) as lab:
        with lab["a"].enter():
            tune.apply(tune.plan(profile, "wp0"), state_dir=state)
        before = everything(host)
        with host.enter():
            done = tune.restore(state_dir=state)
        assert done.journal is None
        assert len(done.others) == 1
        assert everything(host) == before
        with lab["a"].enter():
            assert tune.restore(state_dir=state).ok


# The command.


def command(host: Host, *words: object) -> tuple[int, str, str]:
    done = host.run(
        [sys.executable, "-m", "wirepath", "tune", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_shows_applies_tells_and_restores(
    host: Host, profile: Path, state: Path
) -> None:
    before = everything(host)
    options = ["--state-dir", state]
    code, out, err = command(host, "wp0", "--profile", profile)
    assert (code, err) == (0, "")
    assert "to change" in out
    assert "not possible here" in out
    assert "Nothing was changed" in out
    assert everything(host) == before
    code, out, _ = command(host, "wp0", "--profile", profile, "--json")
    plan = json.loads(out)["plan"]
    assert plan["interface"]["name"] == "wp0"
    assert len([s for s in plan["settings"] if s["state"] == "change"]) == CHANGES
    code, out, _ = command(host, "wp0", "--profile", profile, "--apply", "--json", *options)
    answer = json.loads(out)
    assert (code, answer["ok"], answer["applied"]) == (0, True, True)
    assert everything(host) != before
    code, out, _ = command(host, "--status", "--json", *options)
    (journal,) = json.loads(out)["journals"]
    assert len([e for e in journal["entries"] if not e["kept"]]) == CHANGES
    code, out, _ = command(host, "wp0", "--profile", profile, *options)
    assert "settings of an earlier tune" in out
    code, out, _ = command(host, "--restore", *options)
    assert code == 0
    assert "restored" in out
    assert everything(host) == before
    code, out, _ = command(host, "--restore", "--json", *options)
    assert (code, json.loads(out)["knobs"]) == (0, [])
    code, out, _ = command(host, "--status", *options)
    assert "nothing is tuned" in out


def test_two_commands_at_once(host: Host, profile: Path, state: Path) -> None:
    plan = planned(host, profile)
    answers: list[tuple[int, str, str]] = []

    def progress(step: tune.Step) -> None:
        if not answers:
            answers.append(command(host, "wp0", "--apply", "--state-dir", state))
            answers.append(command(host, "--restore", "--json", "--state-dir", state))

    with host.enter():
        assert tune.apply(plan, state_dir=state, progress=progress).ok
        assert tune.restore(state_dir=state).ok
    assert len(answers) == 2
    for code, _, err in answers:
        assert code == 3
        assert "another wirepath tune is at work" in err
