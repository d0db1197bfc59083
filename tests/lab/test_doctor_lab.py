# SPDX-License-Identifier: Apache-2.0
"""The doctor on real interfaces: veth in a lab, as root and as nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wirepath import doctor, lab
from wirepath.doctor import Severity

pytestmark = pytest.mark.lab


def finding(report, check):
    (found,) = [each for each in report.findings if each.check == check]
    return found


@pytest.fixture
def host(lab_name):
    with lab.Lab(lab_name, queues=2) as both:
        yield both["a"]


def examine(host):
    with host.enter():
        return doctor.examine("wp0")


def ethtool(host, *arguments):
    if shutil.which("ethtool") is None:
        pytest.skip("ethtool is not installed")
    host.run(["ethtool", *arguments], check=True, capture_output=True)


def test_a_lab_interface_is_in_order(host):
    report = examine(host)
    for check in ("nic.link", "nic.native-xdp", "nic.frame-size", "nic.veth", "nic.xdp-program",
                  "nic.merging", "backends.bypass", "irqs.queues", "sysctls.rp_filter",
                  "sysctls.net.ipv4.igmp_max_memberships"):  # fmt: skip
        found = finding(report, check)
        assert found.severity is Severity.OK, found
    (wp0,) = report.interfaces
    assert (wp0.nic.driver, wp0.nic.link.kind, wp0.nic.receiving) == ("veth", "veth", 2)
    ways = {way.backend: way for way in wp0.ways}
    assert ways["af_xdp"].mode == "native XDP, copy"
    assert ways["socket"].works


def test_what_a_namespace_hides_is_said(host):
    report = examine(host)
    deferral = finding(report, "irqs.deferral")
    assert deferral.severity is Severity.UNSEEN
    assert "another network namespace than that of wp0" in deferral.evidence
    # These exist once, and show in the first namespace only.
    assert finding(report, "sysctls.net.core.netdev_budget").severity is Severity.UNSEEN


def test_ip_netns_exec_shows_the_right_sys(host):
    if shutil.which("ip") is None:
        pytest.skip("ip is not installed")
    done = subprocess.run(
        ["ip", "netns", "exec", host.netns.name, sys.executable, "-m", "wirepath", "doctor",
         "wp0", "--json", "--fail-on", "never"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (deferral,) = [x for x in json.loads(done.stdout)["findings"] if x["check"] == "irqs.deferral"]
    assert (deferral["severity"], deferral["evidence"]) == (
        "advice", "napi_defer_hard_irqs 0, gro_flush_timeout 0",
    )  # fmt: skip


def test_mends_of_a_veth_do_mend(host):
    """Each fault is made for real, found, and gone after what the doctor said to type."""
    for fault, check in (
        (("-K", "wp0", "gro", "off"), "nic.veth"),
        (("-K", "wp0", "tx", "on"), "nic.veth"),
    ):
        ethtool(host, *fault)
        found = finding(examine(host), check)
        assert found.severity is Severity.WARNING, found
        assert found.mend.split()[0] == "ethtool"
        ethtool(host, *found.mend.split()[1:])
        assert finding(examine(host), check).severity is Severity.OK


def test_link_and_frame_size_for_real(host):
    def mend(check):
        found = finding(examine(host), check)
        assert found.severity is Severity.BLOCKER, found
        host.run(found.mend.split(), check=True)
        assert finding(examine(host), check).severity is Severity.OK

    host.run(["ip", "link", "set", "dev", "wp0", "down"], check=True)
    report = examine(host)
    assert not any(way.works for way in report.interfaces[0].ways)
    mend("nic.link")
    host.run(["ip", "link", "set", "dev", "wp0", "mtu", "9000"], check=True)
    mend("nic.frame-size")


def test_fewer_receive_queues_than_the_peer_sends_on(host):
    ethtool(host, "-L", "wp0", "rx", "1")
    report = examine(host)
    found = finding(report, "nic.native-xdp")
    assert found.severity is Severity.WARNING, found
    assert "at least as many receive queues as its peer has transmit queues" in found.evidence
    ways = {way.backend: way.mode for way in report.interfaces[0].ways}
    assert ways["af_xdp"] == "generic XDP, copy"
    ethtool(host, "-L", "wp0", "rx", "2")
    assert finding(examine(host), "nic.native-xdp").severity is Severity.OK


def test_an_xdp_program_is_seen(host):
    """A port of our own is on the interface."""
    import wirepath as wp

    if not any(each.name == "af_xdp" and each.available for each in wp.backends()):
        pytest.skip("af_xdp is not available")
    with host.enter(), wp.open("af_xdp:wp0", steer=wp.udp("239.1.1.1", 9001)):
        found = finding(doctor.examine("wp0"), "nic.xdp-program")
    assert found.severity is Severity.ADVICE
    assert "native mode" in found.evidence
    assert finding(examine(host), "nic.xdp-program").severity is Severity.OK


def test_the_strict_filter_for_real(host):
    with host.enter():
        path = Path("/proc/sys/net/ipv4/conf/wp0/rp_filter")
        path.write_text("1\n")
        assert "wp0" in finding(doctor.examine("wp0"), "sysctls.rp_filter").evidence
        path.write_text("2\n")
        assert finding(doctor.examine("wp0"), "sysctls.rp_filter").severity is Severity.OK


def test_restore_puts_back_what_was_tuned(host, tmp_path, monkeypatch, capsys):
    """doctor sees the tuned fault, and its --restore ends it."""
    from wirepath import tune
    from wirepath.cli import main
    from wirepath.tune import _restore

    monkeypatch.setattr(_restore, "state_directory", lambda: tmp_path / "state")
    profile = tmp_path / "groups.toml"
    profile.write_text('[tune]\n[tune.sysctls]\n"net.ipv4.igmp_max_memberships" = 17\n')
    check = "sysctls.net.ipv4.igmp_max_memberships"
    with host.enter():
        before = finding(doctor.examine("wp0"), check)
        assert tune.apply(tune.plan(profile, "wp0"), state_dir=tmp_path / "state").ok
        assert finding(doctor.examine("wp0"), check).evidence.endswith(" = 17")
        assert main(["doctor", "--restore", "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["ok"]
        assert [each["result"] for each in answer["knobs"]] == ["restored"]
        assert finding(doctor.examine("wp0"), check) == before
        assert main(["doctor", "--restore"]) == 0
        assert "nothing to restore" in capsys.readouterr().out


def test_as_nobody(host):
    """All of it works without a privilege, and what cannot be seen is in the list."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not installed")
    done = host.run(
        [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
         "prlimit", "--memlock=65536", sys.executable, "-m", "wirepath", "doctor", "wp0", "--json"],
        capture_output=True, text=True, cwd="/",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # blockers
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    found = {each["check"]: each for each in answer["findings"]}
    assert found["privileges.capabilities"]["severity"] == "blocker"
    assert found["memory.memlock"]["severity"] == "blocker"
    assert found["nic.native-xdp"]["severity"] == "ok"  # netdev-genl asks for no privilege
    ways = {way["backend"]: way for way in answer["interfaces"][0]["ways"]}
    assert not ways["af_xdp"]["works"]
    assert "lacks CAP_NET_ADMIN" in ways["af_xdp"]["in_the_way"][0]
    assert ways["socket"]["works"]


def test_capabilities_of_a_user_namespace_do_not_count():
    """Where root is no root: the kernel refuses AF_XDP there, whatever CapEff says."""
    code = (
        "import json, sys, wirepath as wp\n"
        "from wirepath import doctor\n"
        "report = doctor.examine('lo')\n"
        "(found,) = [f for f in report.findings if f.check == 'privileges.capabilities']\n"
        "try:\n"
        "    wp.open('af_xdp:lo', steer=wp.udp('239.1.1.1', 9001)).close()\n"
        "    opened = 'opened'\n"
        "except wp.errors.WirepathError as error:\n"
        "    opened = type(error).__name__\n"
        "print(json.dumps([found.severity, found.evidence, opened]))\n"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-c",
         'ip link set lo up && exec "$@"', "-", sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespace here: {done.stderr.strip()}")
    severity, evidence, opened = json.loads(done.stdout)
    assert severity == "blocker", done.stderr
    assert "user namespace" in evidence
    assert opened in ("PermissionDenied", "BackendUnavailable")


def test_a_file_that_only_root_reads():
    path = Path("/proc/sys/net/core/bpf_jit_harden")
    if not path.exists() or path.stat().st_mode & 0o004 or os.getuid() != 0:
        pytest.skip("this kernel lets everybody read bpf_jit_harden")
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
         sys.executable, "-m", "wirepath", "doctor", "lo", "--json", "--fail-on", "never"],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    harden = found["sysctls.net.core.bpf_jit_harden"]
    assert harden["severity"] == "unseen"
    assert "may not be read by this user" in harden["evidence"]
