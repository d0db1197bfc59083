# SPDX-License-Identifier: Apache-2.0
"""The same plan for those who manage machines otherwise: script, sysctl.d, tuned, udev, systemd.

Each text sets what the plan wants, whether it has to change now or not; what is impossible here is
left out and said in a comment.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Final, Literal, get_args

from ..errors import ConfigError
from ..settings import problem
from ._knobs import spelled
from ._plan import Plan, Setting

Format = Literal["script", "sysctl", "tuned", "udev", "systemd"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)

_ETHTOOL: Final = {"channels": "-L", "ring": "-G", "feature": "-K", "coalesce": "-C"}
# tuned compares with `ethtool -k`, which has old names for some (ethtool(8)).
_OLD_NAMES: Final = {
    "rx-gro": "gro",
    "rx-lro": "lro",
    "rx-checksum": "rx",
    "rx-hashing": "rxhash",
    "rx-ntuple-filter": "ntuple",
    "rx-vlan-hw-parse": "rxvlan",
    "tx-vlan-hw-insert": "txvlan",
    "tx-generic-segmentation": "gso",
}


def emit(plan: Plan, form: str) -> str:
    """A plan as ``script`` (POSIX shell), ``sysctl`` (a file for /etc/sysctl.d), ``tuned``
    (tuned.conf), ``udev`` (a rule that sets up the interface when it appears) or ``systemd`` (a
    unit that sets everything at boot).

    Raises ConfigError: another format, or ``udev`` of a plan without an interface.
    """
    writers = {
        "script": _script,
        "sysctl": _sysctl,
        "tuned": _tuned,
        "udev": _udev,
        "systemd": _systemd,
    }
    if form not in writers:
        raise ConfigError(problem("emit", form, f"one of {', '.join(FORMATS)}"))
    nic = plan.interface.name if plan.interface is not None else ""
    if form in ("tuned", "udev", "systemd") and not re.fullmatch(r"[A-Za-z0-9_.:@-]*", nic):
        must = f"of letters, digits and _.:@- to be written as {form}: rename it, or emit a script"
        raise ConfigError(problem("IFACE", nic, must))
    lines = list(writers[form](plan))
    if plan.carries_default_route and plan.interface is not None:
        name = plan.interface.name
        lines.insert(2, f"# {name} carries the default route: a mistake cuts this machine off.")
    return "\n".join(lines) + "\n"


def _title(plan: Plan) -> str:
    nic = f" of {plan.interface.name}" if plan.interface else ""
    return f"wirepath tune: profile {_line(plan.profile)}{nic}"


def _line(text: str) -> str:
    """Text as it may stand in a comment."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _possible(plan: Plan, *kinds: str) -> list[Setting]:
    return [s for s in plan.settings if s.state != "impossible" and s.kind in kinds]


def _left_out(plan: Plan, kinds: Iterable[str], why: str) -> Iterator[str]:
    """Comments on what this format does not set."""
    impossible = [s for s in plan.settings if s.state == "impossible"]
    for each in impossible:
        yield f"# not possible here: {each.knob} = {each.wanted} ({_line(each.obstacle or '')})"
    there = set(kinds)
    others = [s for s in plan.settings if s.state != "impossible" and s.kind not in there]
    for each in others:
        yield f"# {why}: {each.knob} = {each.wanted}"


def _path(setting: Setting) -> str:
    knob = setting.knob
    match knob.kind:
        case "sysctl":
            name = knob.name if "/" in knob.name else knob.name.replace(".", "/")
            return f"/proc/sys/{name}"
        case "netdev":
            return f"/sys/class/net/{knob.interface}/{knob.name}"
        case _:
            return f"/sys/{knob.name}"


# A shell script.

_PREAMBLE: Final = """\
set -u
failed=0
put() {  # put VALUE FILE
    if [ "$(cat "$2" 2>/dev/null)" = "$1" ]; then return; fi
    if ! printf '%s\\n' "$1" 2>/dev/null > "$2"; then
        echo "cannot set $2 to $1" >&2
        failed=$((failed + 1))
    fi
}
nic() {  # nic ETHTOOL-OPTION INTERFACE NAME VALUE
    if ! out=$(ethtool "$1" "$2" "$3" "$4" 2>&1); then
        case $out in
        *"no "*" changed"*|*"nmodified"*) ;;
        *) echo "ethtool $1 $2 $3 $4: $out" >&2; failed=$((failed + 1)) ;;
        esac
    fi
}
irq() {  # irq LABEL CORES
    found=$(awk -v label="$1" '$NF == label { sub(":", "", $1); print $1 }' /proc/interrupts)
    for number in ${found:-$1}; do
        put "$2" "/proc/irq/$number/smp_affinity_list"
    done
}"""


def _script(plan: Plan) -> Iterator[str]:
    yield "#!/bin/sh"
    yield f"# {_title(plan)}"
    yield "# Sets values; it does not write down what was there (wirepath tune --apply does)."
    yield _PREAMBLE
    yield 'if [ "$(id -u)" != 0 ]; then echo "run this as root" >&2; exit 4; fi'
    if plan.carries_default_route and plan.interface is not None:
        said = f"{plan.interface.name} carries the default route: say --yes-this-one"
        yield 'if [ "${1:-}" != --yes-this-one ]; then'
        yield f"    echo {shlex.quote(said)} >&2"
        yield "    exit 2"
        yield "fi"
    if any(s.kind in _ETHTOOL for s in _possible(plan, *_ETHTOOL)):
        yield "command -v ethtool >/dev/null || { echo 'ethtool is missing' >&2; exit 3; }"
    if plan.interface is not None:
        nic = shlex.quote(plan.interface.name)
        mac = shlex.quote(plan.interface.mac)
        yield f'if [ "$(cat /sys/class/net/{nic}/address 2>/dev/null)" != {mac} ]; then'
        yield f"    echo {shlex.quote(f'{plan.interface.name} is not the interface meant')} >&2"
        yield "    exit 3"
        yield "fi"
    for each in plan.settings:
        if each.state == "impossible":
            continue
        yield f"# {_line(each.why)}"
        yield _command(each)
    yield from _left_out(plan, [s.kind for s in plan.settings], "")
    yield 'if [ "$failed" != 0 ]; then echo "$failed settings failed" >&2; exit 1; fi'


def _command(setting: Setting) -> str:
    value = shlex.quote(spelled(setting.knob, setting.wanted))
    name, nic = shlex.quote(setting.name), shlex.quote(setting.interface)
    match setting.kind:
        case "sysctl" | "sysfs" | "netdev":
            return f"put {value} {shlex.quote(_path(setting))}"
        case "irq":
            return f"irq {name} {value}"
        case "service":
            verb = "stop" if setting.wanted == "stopped" else "start"
            return f"systemctl {verb} {name} || failed=$((failed + 1))"
        case _:
            return f"nic {_ETHTOOL[setting.kind]} {nic} {name} {value}"


# A file for /etc/sysctl.d.


def _sysctl(plan: Plan) -> Iterator[str]:
    yield f"# {_title(plan)}"
    yield "# For /etc/sysctl.d/90-wirepath.conf; sysctl --system reads it."
    for each in _possible(plan, "sysctl"):
        yield f"# {_line(each.why)}"
        yield f"{each.name} = {each.wanted}"
    yield from _left_out(plan, ["sysctl"], "not a sysctl")


# A tuned profile.


def _tuned(plan: Plan) -> Iterator[str]:
    yield f"# {_title(plan)}"
    yield "# For /etc/tuned/wirepath/tuned.conf; then: tuned-adm profile wirepath"
    yield "[main]"
    yield f"summary={_line(plan.description or plan.profile)}"
    kinds = ["sysctl", "sysfs", "netdev", *_ETHTOOL]
    if sysctls := _possible(plan, "sysctl"):
        yield "\n[sysctl]"
        yield from (f"{s.name}={s.wanted}" for s in sysctls)
    if files := _possible(plan, "sysfs", "netdev"):
        yield "\n[sysfs]"
        yield from (f"{_path(s)}={spelled(s.knob, s.wanted)}" for s in files)
    if plan.interface is not None and _possible(plan, *_ETHTOOL):
        yield "\n[net]"
        yield f"devices={plan.interface.name}"
        for kind, option in (
            ("channels", "channels"),
            ("ring", "ring"),
            ("feature", "features"),
            ("coalesce", "coalesce"),
        ):
            pairs = [f"{_OLD_NAMES.get(s.name, s.name)} {s.wanted}" for s in _possible(plan, kind)]
            if pairs:
                yield f"{option}={' '.join(pairs)}"
    if services := _possible(plan, "service"):
        kinds.append("service")
        yield "\n[service]"
        yield from (f"service.{s.name}=stop" for s in services)
    yield ""
    yield from _left_out(plan, kinds, "not in tuned's power, use the script")


# A udev rule.


def _udev(plan: Plan) -> Iterator[str]:
    if plan.interface is None:
        raise ConfigError("a udev rule is of an interface: name one (wirepath tune IFACE)")
    yield f"# {_title(plan)}"
    yield "# For /etc/udev/rules.d/90-wirepath.rules; udevadm control --reload reads it."
    # By its address, which a rename does not change; a VLAN or bridge over it has the same one.
    who = f'DRIVERS=="{plan.driver}"' if plan.driver else f'KERNEL=="{plan.interface.name}"'
    match = f'ACTION=="add", SUBSYSTEM=="net", ATTR{{address}}=="{plan.interface.mac}", {who}'
    kinds = ["netdev", *_ETHTOOL]
    for each in _possible(plan, *kinds):
        yield f"# {_line(each.why)}"
        # In the order of the rules: programs run after all attributes are set, so an attribute of
        # a queue that ethtool brings is set by a program as well.
        if each.kind == "netdev" and not each.name.startswith("queues/"):
            yield f'{match}, ATTR{{{each.name}}}="{each.wanted}"'
            continue
        if each.kind == "netdev":
            text = f"echo {spelled(each.knob, each.wanted)} > /sys/class/net/$name/{each.name}"
            yield f"{match}, RUN+=\"/bin/sh -c '{text}'\""
            continue
        option = _ETHTOOL[each.kind]
        yield f'{match}, RUN+="/usr/sbin/ethtool {option} $name {each.name} {each.wanted}"'
    yield from _left_out(plan, kinds, "not of the interface, use sysctl.d or the unit")


# A systemd unit.


def _systemd(plan: Plan) -> Iterator[str]:
    yield f"# {_title(plan)}"
    yield "# For /etc/systemd/system/wirepath-tune.service; then: systemctl enable wirepath-tune"
    yield "[Unit]"
    yield f"Description={_unit(_title(plan))}"
    yield "After=systemd-sysctl.service systemd-udevd.service"
    if plan.interface is not None:
        device = f"sys-subsystem-net-devices-{_escaped(plan.interface.name)}.device"
        yield f"BindsTo={device}"
        yield f"After={device}"
    yield "\n[Service]"
    yield "Type=oneshot"
    yield "RemainAfterExit=yes"
    for each in plan.settings:
        if each.state == "impossible":
            continue
        yield f"# {_line(each.why)}"
        yield f"ExecStart=-{_exec(each)}"
    yield from _left_out(plan, [s.kind for s in plan.settings], "")
    yield "\n[Install]"
    yield "WantedBy=multi-user.target"


def _exec(setting: Setting) -> str:
    value = spelled(setting.knob, setting.wanted)
    match setting.kind:
        case "sysctl" | "sysfs" | "netdev":
            text = f"printf '%s\\n' {shlex.quote(value)} > {shlex.quote(_path(setting))}"
        case "irq":
            text = (
                f"awk -v label={shlex.quote(setting.name)} "
                '\'$NF == label { sub(":", "", $1); print $1 }\' /proc/interrupts | '
                f"while read -r n; do echo {shlex.quote(value)} > /proc/irq/$n/smp_affinity_list; "
                "done"
            )
        case "service":
            return f"/usr/bin/systemctl --no-block stop {setting.name}"
        case _:
            option = _ETHTOOL[setting.kind]
            return f"/usr/sbin/ethtool {option} {setting.interface} {setting.name} {value}"
    return f'/bin/sh -c "{_quoted(text)}"'


def _unit(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Text in double quotes of an Exec line (systemd.service(5), "Command lines")."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return _unit(escaped).replace("$", "$$")


def _escaped(name: str) -> str:
    """As systemd-escape does."""
    return re.sub(r"[^A-Za-z0-9:_.]", lambda m: f"\\x{ord(m[0]):02x}", name)
