# SPDX-License-Identifier: Apache-2.0
"""Profiles: what a machine should be tuned for, as a table ``[tune]`` of a TOML file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from ..errors import ConfigError
from ..settings import Must, Settings, nearest, problem
from ._knobs import cpus_of
from ._links import COALESCING

_SYSCTL = re.compile(r"[a-z0-9_-]+([./][A-Za-z0-9_:@-]+)+")
_FEATURE = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
_KEEP = "keep"


def _unless_keep(value: object) -> object:
    return None if value == _KEEP else value


def _cpu_list(text: str | None) -> str | None:
    if text is not None and not cpus_of(text):
        raise ValueError("no cores")
    return text


def _count_or(word: str, low: int, high: int) -> Callable[[object], int | str | None]:
    def check(value: object) -> int | str | None:
        if value in (None, _KEEP):
            return None
        if isinstance(value, str) and value == word:
            return value
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError("neither")

    return check


def _flat(values: object) -> object:
    """TOML's ``net.core.rmem_max = 1``, written without quotes, is a table in a table."""
    if not isinstance(values, Mapping):
        return values
    out: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = _flat(value)
            assert isinstance(inner, dict)
            out |= {f"{name}.{rest}": each for rest, each in inner.items()}
        else:
            out[str(name)] = value
    return out


def _sysctls(values: Mapping[str, object]) -> Mapping[str, object]:
    for name, value in values.items():
        if not _SYSCTL.fullmatch(name) or ".." in name:
            raise ValueError(f"{name} is no sysctl")
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError(f"{name} is neither number nor text")
        if isinstance(value, str) and (not value.isprintable() or not value.strip()):
            raise ValueError(f"{name} is not one line of text")
    return values


def _minima(values: Mapping[str, object]) -> Mapping[str, object]:
    for name, value in _sysctls(values).items():
        if value != _KEEP and (not isinstance(value, int) or value < 0):
            raise ValueError(f"{name} is not a number")
    return values


def _features(values: Mapping[str, object]) -> Mapping[str, object]:
    for name, value in values.items():
        if not _FEATURE.fullmatch(name) or not (isinstance(value, bool) or value == _KEEP):
            raise ValueError(f"{name} is no feature")
    return values


def _coalescing(values: Mapping[str, object]) -> Mapping[str, object]:
    for name, value in values.items():
        if name not in COALESCING:
            raise ValueError(f"{name} is no coalescing option")
        if value == _KEEP:
            continue
        if isinstance(value, bool) is not name.startswith("adaptive"):
            raise ValueError(f"{name} has a value of the wrong kind")
        if not isinstance(value, (bool, int)) or not 0 <= value < 1 << 32:
            raise ValueError(f"{name} is no number")
    return values


Keep = BeforeValidator(_unless_keep)


class Profile(Settings):
    """What to set; everything left out (or ``"keep"``) stays as it is.

    Raises :class:`~wirepath.errors.ConfigError` naming every unusable field, its value and what
    is allowed, a line each.
    """

    table: ClassVar[str] = "tune"

    base: Annotated[
        Literal["latency", "throughput", "kafka"] | None,
        Must('"latency", "throughput" or "kafka"'),
        Field(description="built-in profile that this one changes"),
    ] = None
    description: Annotated[
        str,
        Field(max_length=200, pattern=r"^[^\r\n]*$", description="a line on what it is for"),
        Must("one line of at most 200 characters"),
    ] = ""
    cores: Annotated[
        str | None,
        AfterValidator(_cpu_list),
        Must('a list of cores such as "2-5,8"'),
        Field(
            description="cores that serve the NIC; left out: those of its NUMA node that "
            "are not isolated"
        ),
        Keep,
    ] = None
    channels: Annotated[
        int | str | None,
        PlainValidator(_count_or("cores", 1, 1024)),
        Must('a whole number from 1 to 1024, or "cores": as many as there are cores to serve it'),
        Field(description="queues of the NIC"),
    ] = None
    rx_ring: Annotated[
        int | str | None,
        PlainValidator(_count_or("max", 1, 1 << 20)),
        Must('a whole number from 1 to 1048576, or "max"'),
        Field(description="receive descriptors a queue"),
    ] = None
    tx_ring: Annotated[
        int | str | None,
        PlainValidator(_count_or("max", 1, 1 << 20)),
        Must('a whole number from 1 to 1048576, or "max"'),
        Field(description="transmit descriptors a queue"),
    ] = None
    irq_affinity: Annotated[
        Literal["spread"] | None,
        Must('"spread" or "keep"'),
        Field(description="queue interrupts: one core each, in turn"),
        Keep,
    ] = None
    irqbalance: Annotated[
        Literal["stop"] | None,
        Must('"stop" or "keep"'),
        Field(description="the daemon that would move interrupts again"),
        Keep,
    ] = None
    xps: Annotated[
        Literal["spread", "off"] | None,
        Must('"spread", "off" or "keep"'),
        Field(description="transmit queues: one core each, in turn, or none"),
        Keep,
    ] = None
    rps: Annotated[
        Literal["cores", "off"] | None,
        Must('"cores", "off" or "keep"'),
        Field(description="receive queues: packets spread over the cores by software, or not"),
        Keep,
    ] = None
    napi_defer_hard_irqs: Annotated[
        int | None,
        Field(ge=0, le=1 << 30, description="empty polls before the interrupt is armed again"),
        Must("a whole number from 0 to 1073741824"),
        Keep,
    ] = None
    gro_flush_timeout_ns: Annotated[
        int | None,
        Field(ge=0, le=1_000_000_000, description="nanoseconds until a deferred interrupt's poll"),
        Must("a whole number of nanoseconds from 0 to 1000000000"),
        Keep,
    ] = None
    governor: Annotated[
        str | None,
        Field(pattern=r"^[a-z_]{1,15}$", description="cpufreq governor of these cores, or of all"),
        Must('the name of a cpufreq governor, such as "performance"'),
        Keep,
    ] = None
    transparent_hugepages: Annotated[
        Literal["always", "madvise", "never"] | None,
        Must('"always", "madvise", "never" or "keep"'),
        Field(description="huge pages behind ordinary memory"),
        Keep,
    ] = None
    hugepages_2m: Annotated[
        int | None,
        Field(ge=0, le=1 << 24, description="pages of 2 MiB to set aside, at least"),
        Must("a whole number from 0 to 16777216"),
        Keep,
    ] = None
    hugepages_1g: Annotated[
        int | None,
        Field(ge=0, le=1 << 16, description="pages of 1 GiB to set aside, at least"),
        Must("a whole number from 0 to 65536"),
        Keep,
    ] = None
    sysctls: Annotated[
        Mapping[str, Any],
        BeforeValidator(_flat),
        AfterValidator(_sysctls),
        Must('a table of sysctl = number or text, such as "vm.swappiness" = 1'),
        Field(description="sysctls, exactly these values"),
    ] = {}
    sysctls_at_least: Annotated[
        Mapping[str, Any],
        BeforeValidator(_flat),
        AfterValidator(_minima),
        Must('a table of sysctl = whole number, such as "net.core.rmem_max" = 16777216'),
        Field(description="sysctls that are raised to these values and never lowered"),
    ] = {}
    features: Annotated[
        Mapping[str, Any],
        AfterValidator(_features),
        Must("a table of feature = true or false, spelled as ethtool -k's long names: rx-gro"),
        Field(description="offloads and other features of the NIC"),
    ] = {}
    coalescing: Annotated[
        Mapping[str, Any],
        AfterValidator(_coalescing),
        Must(f"a table of whole numbers, true or false, out of {', '.join(COALESCING)}"),
        Field(description="interrupt coalescing, spelled as ethtool -c does"),
    ] = {}

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        both = set(values.get("sysctls") or {}) & set(values.get("sysctls_at_least") or {})
        for name in sorted(both):
            must = "left out, or taken out of sysctls_at_least"
            out.append(problem(f"sysctls.{name}", values["sysctls"][name], must))
        return out

    def over(self, other: Profile) -> Profile:
        """``other`` with what this profile says put over it."""
        merged: dict[str, Any] = {name: getattr(other, name) for name in other.model_fields_set}
        for name in self.model_fields_set:
            value = getattr(self, name)
            before = merged.get(name)
            if isinstance(value, Mapping) and isinstance(before, Mapping):
                value = {**before, **value}
            merged[name] = value
        # A sysctl moves from one table to the other where this profile puts it there.
        for mine, others in (("sysctls", "sysctls_at_least"), ("sysctls_at_least", "sysctls")):
            for name in getattr(self, mine):
                if name in (merged.get(others) or {}) and name not in getattr(self, others):
                    merged[others] = {k: v for k, v in merged[others].items() if k != name}
        return Profile(**merged)

    def wanted(self, table: str) -> dict[str, Any]:
        """The entries of a table that are not ``"keep"``."""
        return {name: value for name, value in getattr(self, table).items() if value != _KEEP}


#: Receive and send buffers that a program may ask for: 50 ms of 10 Gbit/s.
_BUFFER = 64 << 20

BUILT_IN: dict[str, Profile] = {
    "latency": Profile(
        description="each packet as soon as it comes, at the price of CPU time",
        rx_ring=1024,
        tx_ring=1024,
        channels="cores",
        irq_affinity="spread",
        irqbalance="stop",
        xps="spread",
        rps="off",
        napi_defer_hard_irqs=2,
        gro_flush_timeout_ns=200_000,
        governor="performance",
        transparent_hugepages="never",
        features={"rx-gro": False, "rx-lro": False, "rx-gro-hw": False},
        coalescing={
            "adaptive-rx": False,
            "adaptive-tx": False,
            "rx-usecs": 0,
            "rx-frames": 1,
        },
        sysctls={
            "net.core.busy_poll": 50,
            "net.core.busy_read": 50,
            "net.core.bpf_jit_enable": 1,
            "net.ipv4.tcp_autocorking": 0,
            "net.ipv4.tcp_slow_start_after_idle": 0,
            "kernel.numa_balancing": 0,
            "vm.stat_interval": 10,
        },
        sysctls_at_least={
            "net.core.rmem_max": _BUFFER,
            "net.core.wmem_max": _BUFFER,
            "net.core.netdev_max_backlog": 10_000,
            "net.core.optmem_max": 131_072,
            "net.ipv4.igmp_max_memberships": 512,
        },
    ),
    "throughput": Profile(
        description="the most bytes for the CPU time, in bursts",
        rx_ring="max",
        tx_ring="max",
        channels="cores",
        irq_affinity="spread",
        irqbalance="stop",
        xps="spread",
        governor="performance",
        transparent_hugepages="madvise",
        features={
            "rx-gro": True,
            "tx-generic-segmentation": True,
            "tx-tcp-segmentation": True,
        },
        coalescing={"adaptive-rx": True, "adaptive-tx": True},
        sysctls={
            "net.core.bpf_jit_enable": 1,
            "net.ipv4.tcp_rmem": "4096 131072 67108864",
            "net.ipv4.tcp_wmem": "4096 65536 67108864",
            "net.ipv4.tcp_mtu_probing": 1,
        },
        sysctls_at_least={
            "net.core.rmem_max": _BUFFER,
            "net.core.wmem_max": _BUFFER,
            "net.core.netdev_max_backlog": 30_000,
            "net.core.netdev_budget": 600,
            "net.core.netdev_budget_usecs": 8_000,
            "net.core.somaxconn": 4_096,
        },
    ),
    "kafka": Profile(
        description="brokers and clients: many TCP connections, page cache, steady writes",
        rx_ring="max",
        tx_ring="max",
        channels="cores",
        irq_affinity="spread",
        irqbalance="stop",
        xps="spread",
        governor="performance",
        transparent_hugepages="madvise",
        features={
            "rx-gro": True,
            "tx-generic-segmentation": True,
            "tx-tcp-segmentation": True,
        },
        coalescing={"adaptive-rx": True, "adaptive-tx": True},
        sysctls={
            "net.ipv4.tcp_rmem": "4096 65536 16777216",
            "net.ipv4.tcp_wmem": "4096 65536 16777216",
            "net.ipv4.tcp_slow_start_after_idle": 0,
            "net.ipv4.tcp_window_scaling": 1,
            "vm.swappiness": 1,
            "vm.dirty_background_ratio": 5,
            "vm.dirty_ratio": 60,
        },
        sysctls_at_least={
            "net.core.rmem_max": 16 << 20,
            "net.core.wmem_max": 16 << 20,
            "net.core.netdev_max_backlog": 30_000,
            "net.core.somaxconn": 4_096,
            "net.ipv4.tcp_max_syn_backlog": 4_096,
            "vm.max_map_count": 262_144,
        },
    ),
}


def load(profile: str | Path | Profile) -> tuple[str, Profile]:
    """Name and contents of a profile: a built-in one's name, a TOML file's path, or a Profile.

    Raises :class:`ConfigError` where it is none of these or is not usable.
    """
    if isinstance(profile, Profile):
        return (profile.base or "custom"), _on_base(profile)
    if str(profile) in BUILT_IN:
        return str(profile), BUILT_IN[str(profile)]
    path = Path(profile)
    if path.suffix == ".toml" or "/" in str(profile) or path.exists():
        return str(path), _on_base(Profile.from_toml(path))
    known = ", ".join(BUILT_IN)
    hint = nearest(str(profile), BUILT_IN)
    raise ConfigError(problem("profile", str(profile), f"one of {known}, or a TOML file") + hint)


def _on_base(profile: Profile) -> Profile:
    return profile if profile.base is None else profile.over(BUILT_IN[profile.base])
