# SPDX-License-Identifier: Apache-2.0
"""The plan in other managers' languages, read by their own checkers where those are installed."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tune_fakes import FakeMachine, fake_machine

from wirepath import tune
from wirepath.errors import ConfigError


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return fake_machine(tmp_path / "root")


@pytest.fixture(params=list(tune.BUILT_IN))
def plan(request: pytest.FixtureRequest, machine: FakeMachine) -> tune.Plan:
    return tune.plan(request.param, "eth1", machine=machine)


def possible(plan: tune.Plan) -> list[tune.Setting]:
    return [each for each in plan.settings if each.state != "impossible"]


def told(plan: tune.Plan, form: str) -> str:
    text = tune.emit(plan, form)
    for each in plan.settings:
        if each.state == "impossible":
            assert f"# not possible here: {each.knob} = {each.wanted}" in text
    return text


def checked(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which(tool) is None:
        pytest.skip(f"unsupported: this machine has no {tool} (apt install {tool})")
    return subprocess.run(
        [tool, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def actions(text: str) -> list[str]:
    """The lines of a script that set something."""
    return [x for x in text.splitlines() if re.match(r"(put|nic|irq|systemctl) ", x)]


def test_the_script_has_a_line_for_every_setting(plan: tune.Plan) -> None:
    lines = actions(told(plan, "script"))
    assert len(lines) == len(possible(plan))
    for line, setting in zip(lines, possible(plan), strict=True):
        assert setting.name.replace(".", "/").split("/")[-1] in line
        assert setting.wanted in line or setting.kind == "service"


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_shells_parse_the_script(plan: tune.Plan, tmp_path: Path, shell: str) -> None:
    file = tmp_path / "tune.sh"
    file.write_text(tune.emit(plan, "script"))
    done = checked(shell, "-n", file)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing(plan: tune.Plan, tmp_path: Path) -> None:
    file = tmp_path / "tune.sh"
    file.write_text(tune.emit(plan, "script"))
    done = checked("shellcheck", file)
    assert (done.returncode, done.stdout) == (0, "")


def test_names_cannot_break_out_of_the_script(machine: FakeMachine, tmp_path: Path) -> None:
    hit = tmp_path / "hit"
    evil = f"x'; touch {hit}; '$(touch {hit})`touch {hit}`"
    profile = tune.Profile(sysctls={"net.core.rmem_max": evil})
    plan = tune.plan(profile, machine=machine)
    (setting,) = possible(plan)
    assert setting.wanted == evil
    script = tmp_path / "tune.sh"
    # The file it would write is not the machine's but one of ours.
    text = tune.emit(plan, "script").replace("/proc/sys/net/core/rmem_max", str(tmp_path / "value"))
    script.write_text(re.sub(r'^if \[ "\$\(id.*$', "", text, flags=re.MULTILINE))
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    assert (tmp_path / "value").read_text() == evil + "\n"
    assert not hit.exists()


def test_names_cannot_break_out_of_the_unit(machine: FakeMachine, tmp_path: Path) -> None:
    hit = tmp_path / "hit"
    evil = f"x'; touch {hit}; \"$(touch {hit})`touch {hit}` %n \\"
    profile = tune.Profile(sysctls={"net.core.rmem_max": evil})
    text = tune.emit(tune.plan(profile, machine=machine), "systemd")
    (line,) = [x for x in text.splitlines() if x.startswith("ExecStart=-")]
    # As systemd takes it apart: escapes in double quotes, then %% and $$.
    words = shlex.split(line.removeprefix("ExecStart=-"))
    assert not re.search(r"(?<!%)%(%%)*(?!%)", words[2])
    words = [w.replace("%%", "%").replace("$$", "$") for w in words]
    words[2] = words[2].replace("/proc/sys/net/core/rmem_max", str(tmp_path / "value"))
    subprocess.run(words, check=True)
    assert (tmp_path / "value").read_text() == evil + "\n"
    assert not hit.exists()


def test_an_interface_with_a_strange_name_is_for_the_script_alone(machine: FakeMachine) -> None:
    name = 'e"$x'
    machine.device.change(interfaces=[[name, "02:00:00:00:00:01", 7]])
    plan = tune.plan(tune.Profile(), name, machine=machine)
    for form in ("tuned", "udev", "systemd"):
        with pytest.raises(ConfigError, match="rename it, or emit a script"):
            tune.emit(plan, form)
    assert "'e\"$x'" in tune.emit(plan, "script")


def test_sysctl_d_says_what_sysctl_understands(plan: tune.Plan, tmp_path: Path) -> None:
    text = told(plan, "sysctl")
    lines = [x for x in text.splitlines() if x and not x.startswith("#")]
    wanted = [f"{s.name} = {s.wanted}" for s in possible(plan) if s.kind == "sysctl"]
    assert lines == wanted
    assert "# not a sysctl: eth1 feature rx-gro" in text
    file = tmp_path / "90-wirepath.conf"
    file.write_text(text)
    done = checked("sysctl", "--dry-run", "--ignore", "-p", file)
    if "unrecognized" in done.stderr:
        pytest.skip("unsupported: this sysctl has no --dry-run")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 1


def test_the_tuned_profile(plan: tune.Plan) -> None:
    text = told(plan, "tuned")
    parsed = configparser.RawConfigParser(strict=True, delimiters=["="], comment_prefixes=["#"])
    parsed.optionxform = str  # type: ignore[method-assign, assignment]
    parsed.read_string(text)
    settings = possible(plan)
    assert dict(parsed["sysctl"]) == {s.name: s.wanted for s in settings if s.kind == "sysctl"}
    files = dict(parsed["sysfs"])
    assert files["/sys/kernel/mm/transparent_hugepage/enabled"] in ("never", "madvise")
    assert files["/sys/class/net/eth1/queues/tx-0/xps_cpus"] == "4"
    assert all(name.startswith("/sys/") for name in files)  # tuned refuses anything else
    assert parsed["net"]["devices"] == "eth1"
    assert parsed["net"]["channels"] == "combined 2"
    gro = next(s.wanted for s in settings if s.name == "rx-gro")
    assert parsed["net"]["features"].split()[:2] == ["gro", gro]
    assert parsed["service"]["service.irqbalance"] == "stop"
    assert "# not in tuned's power, use the script: eth1 cores of interrupt" in text


def test_the_udev_rule(plan: tune.Plan, tmp_path: Path) -> None:
    text = told(plan, "udev")
    rules = [x for x in text.splitlines() if x and not x.startswith("#")]
    kinds = ("netdev", "feature", "ring", "channels", "coalesce")
    assert len(rules) == sum(s.kind in kinds for s in possible(plan))
    assert all('ATTR{address}=="02:00:00:00:00:01"' in rule for rule in rules)
    for rule in rules:
        for part in re.split(r", (?=[A-Z])", rule):
            assert re.fullmatch(r'[A-Z]+(\{[^}]+\})?(==|=|\+=)"[^"]*"', part), part
    file = tmp_path / "90-wirepath.rules"
    file.write_text(text)
    done = checked("udevadm", "verify", "--no-summary", file)
    if "Unknown command" in done.stderr:
        pytest.skip("unsupported: this udevadm cannot verify rules (systemd 254 can)")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_systemd_unit(plan: tune.Plan, tmp_path: Path) -> None:
    text = told(plan, "systemd")
    assert text.count("\nExecStart=-") == len(possible(plan))
    assert "BindsTo=sys-subsystem-net-devices-eth1.device" in text
    file = tmp_path / "wirepath-tune.service"
    file.write_text(text)
    done = checked("systemd-analyze", "verify", "--man=no", file)
    # Whether the commands are installed is not the unit's fault; what systemd says of it is.
    said = [x for x in done.stderr.splitlines() if "wirepath-tune" in x]
    assert not [x for x in said if "is not executable" not in x], done.stderr


def test_the_default_route_wants_the_same_word_of_a_script(
    machine: FakeMachine, tmp_path: Path
) -> None:
    profile = tune.Profile(rx_ring=64)
    free = tune.plan(profile, "eth1", machine=machine)
    machine.device.change(default_routes=["eth1"])
    plan = tune.plan(profile, "eth1", machine=machine)
    for form in tune.FORMATS:
        assert "eth1 carries the default route" in tune.emit(plan, form)
        assert "default route" not in tune.emit(free, form)
    script = tmp_path / "tune.sh"
    # Up to the check of the interface, which this machine does not have.
    text = tune.emit(plan, "script")
    script.write_text(re.sub(r'^if \[ "\$\(id.*$', "", text, flags=re.MULTILINE))
    codes = [
        subprocess.run(["sh", str(script), *words], capture_output=True, check=False).returncode
        for words in ([], ["--yes"], ["--yes-this-one"])
    ]
    assert codes == [2, 2, 3]


def test_a_rule_wants_an_interface(machine: FakeMachine) -> None:
    with pytest.raises(ConfigError, match="name one"):
        tune.emit(tune.plan("kafka", machine=machine), "udev")
    with pytest.raises(ConfigError, match='emit = "bash" is not usable: it must be one of script'):
        tune.emit(tune.plan("kafka", machine=machine), "bash")


def test_a_profile_name_cannot_leave_its_comment(machine: FakeMachine, tmp_path: Path) -> None:
    file = tmp_path / "a\nreboot\n.toml"
    file.write_text("[tune]\nrx_ring = 64\n")
    plan = tune.plan(file, "eth1", machine=machine)
    for form in tune.FORMATS:
        assert "\nreboot" not in tune.emit(plan, form)
