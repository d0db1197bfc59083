# SPDX-License-Identifier: Apache-2.0
"""From a profile to a plan, on machines made of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tune_fakes import FakeMachine, fake_machine

from wirepath import tune
from wirepath.errors import ConfigError
from wirepath.plain import plain
from wirepath.tune._knobs import Knob, canonical, cpu_list, cpus_of, mask, spelled


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return fake_machine(tmp_path / "root")


def of(plan: tune.Plan, name: str) -> tune.Setting:
    (found,) = [each for each in plan.settings if str(each.knob) == name]
    return found


def states(plan: tune.Plan) -> dict[str, str]:
    return {str(each.knob): each.state for each in plan.settings}


def test_every_kind_of_setting_is_planned_with_now_wanted_and_why(machine: FakeMachine) -> None:
    plan = tune.plan("latency", "eth1", machine=machine)
    assert {s.kind for s in plan.settings} == {
        "sysctl", "sysfs", "netdev", "feature", "ring", "channels", "coalesce", "irq", "service",
    }  # fmt: skip
    shown = {str(s.knob): (s.current, s.wanted, s.state) for s in plan.settings}
    for name, expected in {
        "service irqbalance": ("running", "stopped", "change"),
        # Cores 2 and 3 are those of the NIC's node.
        "eth1 channels combined": ("1", "2", "change"),
        "eth1 ring rx": ("512", "1024", "change"),
        "eth1 feature rx-gro": ("on", "off", "change"),
        "eth1 feature rx-lro": ("off", "off", "same"),
        "eth1 coalesce adaptive-rx": ("on", "off", "change"),
        "eth1 coalesce rx-usecs": ("50", "0", "change"),
        "eth1 napi_defer_hard_irqs": ("0", "2", "change"),
        "eth1 gro_flush_timeout": ("0", "200000", "change"),
        "eth1 queues/tx-0/xps_cpus": ("0", "4", "change"),
        "eth1 queues/tx-1/xps_cpus": (None, "8", "change"),
        "eth1 queues/rx-0/rps_cpus": ("0", "0", "same"),
        "eth1 cores of interrupt eth1-TxRx-0": ("0-3", "2", "change"),
        "eth1 cores of interrupt eth1-TxRx-1": ("0-3", "3", "change"),
        "/sys/kernel/mm/transparent_hugepage/enabled": ("madvise", "never", "change"),
        "/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor": (
            "powersave",
            "performance",
            "change",
        ),
        "sysctl net.core.rmem_max": ("212992", "67108864", "change"),
        "sysctl net.core.wmem_max": ("134217728", "134217728", "same"),  # never lowered
        "sysctl kernel.numa_balancing": ("1", "0", "change"),
    }.items():
        assert shown[name] == expected, name
    assert all(s.why and s.why != "asked for by the profile" for s in plan.settings)
    # The control path's interrupt is no queue's.
    assert not any("mgmt" in name for name in shown)
    json.dumps(plain(plan))


def test_what_brings_queues_comes_before_what_needs_them(machine: FakeMachine) -> None:
    plan = tune.plan("latency", "eth1", machine=machine)
    order = [each.kind for each in plan.settings]
    assert order.index("service") < order.index("channels") < order.index("netdev")
    assert order.index("service") < order.index("irq")
    assert any("once more" in note for note in plan.notes)


def test_planning_changes_nothing(machine: FakeMachine) -> None:
    before = machine.snapshot()
    for profile in tune.BUILT_IN:
        tune.plan(profile, "eth1", machine=machine)
    assert machine.snapshot() == before


def test_without_interface_the_machine_alone_is_planned(machine: FakeMachine) -> None:
    plan = tune.plan("kafka", machine=machine)
    assert {s.kind for s in plan.settings} == {"service", "sysfs", "sysctl"}
    assert of(plan, "sysctl vm.swappiness").wanted == "1"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("eth1 coalesce adaptive-tx", "the driver of eth1 has no coalesce"),
        ("eth1 feature rx-gro-hw", "the driver of eth1 has no feature"),
    ],
)
def test_what_the_driver_lacks_is_impossible_and_says_so(
    machine: FakeMachine, name: str, why: str
) -> None:
    setting = of(tune.plan("latency", "eth1", machine=machine), name)
    assert (setting.state, setting.obstacle) == ("impossible", why)


def test_a_fixed_feature_is_impossible(machine: FakeMachine) -> None:
    profile = tune.Profile(features={"rx-lro": True})
    setting = of(tune.plan(profile, "eth1", machine=machine), "eth1 feature rx-lro")
    assert setting.state == "impossible"
    assert "fixed" in (setting.obstacle or "")


def test_a_missing_sysctl_and_a_read_only_one_are_impossible(machine: FakeMachine) -> None:
    (machine.root / "proc/sys/net/core/busy_poll").unlink()
    (machine.root / "proc/sys/net/core/busy_read").chmod(0o444)
    plan = tune.plan("latency", machine=machine)
    assert "no such sysctl" in (of(plan, "sysctl net.core.busy_poll").obstacle or "")
    assert "lets nobody write" in (of(plan, "sysctl net.core.busy_read").obstacle or "")


def test_a_namespace_leaves_the_whole_machine_alone(machine: FakeMachine) -> None:
    (machine.root / "proc/sys/net/core/netdev_max_backlog").unlink()
    plan = tune.plan("latency", "eth1", machine=machine)
    assert not plan.first_namespace
    changed = {str(s.knob) for s in plan.changes}
    assert "sysctl net.ipv4.tcp_autocorking" in changed
    assert "eth1 feature rx-gro" in changed
    for name in (
        "sysctl kernel.numa_balancing",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "service irqbalance",
        "sysctl net.core.netdev_max_backlog",
    ):
        assert of(plan, name).state == "impossible", name
    assert any("network namespace" in note for note in plan.notes)


def test_without_frequency_scaling_one_line_says_it(machine: FakeMachine) -> None:
    for cpu in range(4):
        place = machine.root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        for file in place.iterdir():
            file.unlink()
    plan = tune.plan("latency", machine=machine)
    name = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    assert of(plan, name).state == "impossible"
    assert sum("scaling_governor" in each for each in states(plan)) == 1


def test_a_governor_that_the_driver_lacks(machine: FakeMachine) -> None:
    plan = tune.plan(tune.Profile(governor="schedutil"), machine=machine)
    setting = of(plan, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    assert setting.state == "impossible"
    assert "performance, powersave" in (setting.obstacle or "")


def test_rings_stay_within_what_the_nic_has(machine: FakeMachine) -> None:
    plan = tune.plan("throughput", "eth1", machine=machine)
    assert of(plan, "eth1 ring rx").wanted == "4096"
    over = tune.plan(tune.Profile(rx_ring=1 << 20, channels=100), "eth1", machine=machine)
    assert of(over, "eth1 ring rx").wanted == "4096"
    assert of(over, "eth1 channels combined").wanted == "8"
    machine.device.change(limits={}, values={})
    plan = tune.plan("throughput", "eth1", machine=machine)
    assert of(plan, "eth1 ring rx").state == "impossible"


def test_every_core_has_a_queue_where_there_are_fewer_queues(machine: FakeMachine) -> None:
    profile = tune.Profile(cores="0-3", channels=2, xps="spread", rps="cores")
    plan = tune.plan(profile, "eth1", machine=machine)
    assert of(plan, "eth1 queues/tx-0/xps_cpus").wanted == "5"
    assert of(plan, "eth1 queues/tx-1/xps_cpus").wanted == "a"
    assert of(plan, "eth1 queues/rx-1/rps_cpus").wanted == "f"


def test_isolated_cores_are_left_to_their_programs(machine: FakeMachine) -> None:
    machine.put("sys/devices/system/cpu/isolated", "3")
    plan = tune.plan("latency", "eth1", machine=machine)
    assert plan.cores == "2"
    assert {s.wanted for s in plan.settings if s.kind == "irq"} == {"2"}
    governed = [s.name for s in plan.settings if s.name.endswith("scaling_governor")]
    assert len(governed) == 4  # theirs too
    assert any("cores 3 are isolated" in note for note in plan.notes)
    asked = tune.plan(tune.Profile(cores="3", irq_affinity="spread"), "eth1", machine=machine)
    assert {s.wanted for s in asked.settings if s.kind == "irq"} == {"3"}


def test_irqbalance_that_does_not_run_needs_no_stop(machine: FakeMachine) -> None:
    machine.device.change(services={"irqbalance": "stopped"})
    assert not any(s.kind == "service" for s in tune.plan("latency", machine=machine).settings)


def test_irqbalance_that_nobody_manages_cannot_be_stopped(machine: FakeMachine) -> None:
    machine.device.change(unmanaged="not managed by systemd here")
    setting = of(tune.plan("latency", machine=machine), "service irqbalance")
    assert (setting.state, setting.obstacle) == ("impossible", "not managed by systemd here")


def test_virtio_interrupts_are_found_at_the_pci_function(machine: FakeMachine) -> None:
    nic = machine.root / "sys/class/net/eth1"
    pci = machine.root / "sys/devices/pci0000:00/0000:00:03.0"
    (pci / "virtio2").mkdir(parents=True)
    (pci / "msi_irqs").mkdir()
    for number in (40, 41, 42):
        (pci / "msi_irqs" / str(number)).touch()
        (nic / "device/msi_irqs" / str(number)).unlink()
    (nic / "device/msi_irqs").rmdir()
    (nic / "device/numa_node").unlink()
    (nic / "device").rmdir()
    (nic / "device").symlink_to(pci / "virtio2")
    machine.put(
        "proc/interrupts",
        "  CPU0\n 40: 1 PCI-MSIX 0-edge virtio2-config\n 41: 1 PCI-MSIX 1-edge virtio2-input.0\n"
        " 42: 1 PCI-MSIX 2-edge virtio2-output.0",
    )
    assert machine.interrupts("eth1") == {"virtio2-input.0": 41, "virtio2-output.0": 42}
    plan = tune.plan("latency", "eth1", machine=machine)
    # Both halves of queue 0 go to the same core.
    cores = [s.wanted for s in plan.settings if s.kind == "irq"]
    assert cores == ["0", "0"]


def test_default_routes_are_seen_through_bridges_and_bonds(machine: FakeMachine) -> None:
    assert not tune.plan("latency", "eth1", machine=machine).carries_default_route
    machine.put("sys/class/net/br0/lower_bond0/x", "")
    machine.put("sys/class/net/bond0/lower_eth1/x", "")
    machine.device.change(default_routes=["br0"])
    plan = tune.plan("latency", "eth1", machine=machine)
    assert plan.carries_default_route
    assert any("--yes-this-one" in note for note in plan.notes)


# Profiles.


def test_a_profile_of_ones_own(machine: FakeMachine, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        [tune]
        base = "latency"
        cores = "0,2-3"
        governor = "keep"
        rx_ring = "max"
        hugepages_2m = 64
        napi_defer_hard_irqs = "keep"
        irqbalance = "keep"
        [tune.sysctls]
        net.core.busy_poll = 100
        "net.ipv4.tcp_rmem" = "4096 87380 1048576"
        "net.core.busy_read" = "keep"
        [tune.features]
        rx-gro = "keep"
        [tune.coalescing]
        rx-usecs = 8
        """
    )
    plan = tune.plan(file, "eth1", machine=machine)
    shown = {str(s.knob): s.wanted for s in plan.settings}
    assert plan.cores == "0,2-3"
    assert shown["eth1 ring rx"] == "4096"
    assert shown["sysctl net.core.busy_poll"] == "100"
    assert shown["sysctl net.ipv4.tcp_rmem"] == "4096 87380 1048576"
    assert shown["eth1 coalesce rx-usecs"] == "8"
    assert shown["eth1 coalesce adaptive-rx"] == "off"  # of the base
    assert shown["/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"] == "64"
    assert not any("governor" in name or name.split()[-1] == "rx-gro" for name in shown)
    for name in (
        "sysctl net.core.busy_read",
        "eth1 napi_defer_hard_irqs",
        "service irqbalance",
    ):
        assert name not in shown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rx_ring = 0", "rx_ring = 0 is not usable: it must be a whole number from 1 to 1048576"),
        ('rx_ring = "min"', 'rx_ring = "min" is not usable'),
        ("channels = true", "channels = True is not usable"),
        ('cores = "2-x"', 'cores = "2-x" is not usable: it must be a list of cores'),
        ('base = "fast"', 'base = "fast" is not usable: it must be "latency"'),
        ("hugepages_2m = -1", "hugepages_2m = -1 is not usable"),
        ('governor = "a b"', 'governor = "a b" is not usable'),
        ("rx_rings = 1", "there is no option rx_rings"),
        ('sysctls = {"../x" = 1}', "sysctls = {'../x': 1} is not usable"),
        ('sysctls = {"net.core.x" = "1\\n2"}', "sysctls = {'net.core.x': '1\\n2'} is not usable"),
        ('sysctls_at_least = {"a.b" = "x"}', "sysctls_at_least = {'a.b': 'x'} is not usable"),
        ("features = {rx-gro = 1}", "features = {'rx-gro': 1} is not usable"),
        ("coalescing = {rx-usec = 1}", "coalescing = {'rx-usec': 1} is not usable"),
        ("coalescing = {adaptive-rx = 1}", "coalescing = {'adaptive-rx': 1} is not usable"),
        ("coalescing = {rx-usecs = -1}", "coalescing = {'rx-usecs': -1} is not usable"),
        (
            'sysctls = {"a.b" = 1}\nsysctls_at_least = {"a.b" = 2}',
            "sysctls.a.b = 1 is not usable: it must be left out",
        ),
    ],
)
def test_a_bad_profile_names_field_value_and_mend(
    machine: FakeMachine, tmp_path: Path, line: str, said: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(f"[tune]\n{line}\n")
    with pytest.raises(ConfigError) as error:
        tune.plan(file, machine=machine)
    assert said in str(error.value)
    assert str(file) in str(error.value)


def test_an_unknown_profile_and_interface(machine: FakeMachine) -> None:
    with pytest.raises(ConfigError, match=r"did you mean latency\?"):
        tune.plan("latencie", machine=machine)
    with pytest.raises(ConfigError, match=r"did you mean eth1\?.*eth1, lo"):
        tune.plan("latency", "eth11", machine=machine)
    with pytest.raises(ConfigError, match="online here, which are 0-3"):
        tune.plan(tune.Profile(cores="2-9"), machine=machine)


@pytest.mark.parametrize("name", list(tune.BUILT_IN))
def test_built_in_profiles_survive_toml(name: str, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(tune.BUILT_IN[name].to_toml())
    assert tune.Profile.from_toml(file) == tune.BUILT_IN[name]


# Spellings.


def test_values_have_one_spelling() -> None:
    xps = Knob("netdev", "queues/tx-0/xps_cpus", "eth1")
    assert canonical(xps, "00000001,0000000f\n") == "10000000f"
    assert spelled(xps, "10000000f") == "00000001,0000000f"
    assert spelled(xps, "f") == "f"
    assert canonical(Knob("irq", "x", "eth1"), "0,1,2,5") == "0-2,5"
    assert canonical(Knob("sysctl", "net.ipv4.tcp_rmem"), "4096\t1\t2\n") == "4096 1 2"
    assert cpu_list(cpus_of("7,0-2,1")) == "0-2,7"
    assert mask([0, 33]) == "200000001"
    for bad in ("3-1", "a", "-1", "0-9999"):
        with pytest.raises(ValueError):
            cpus_of(bad)
