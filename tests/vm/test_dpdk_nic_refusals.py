# SPDX-License-Identifier: Apache-2.0
"""NICs that cannot be had, and processes that die with one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

import wirepath as wp


def script(text, **values):
    """A process with a DPDK of its own."""
    return [sys.executable, "-c", textwrap.dedent(text).format(**values)]


def answer(text, **values):
    """The JSON that a script prints."""
    done = subprocess.run(
        script(text, **values), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


OPEN = """
    import json
    import wirepath as wp
    try:
        with wp.open({spec!r}, steer=wp.everything(), **{options!r}) as port:
            print(json.dumps(["open", port.info()["iova"]]))
    except wp.WirepathError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def test_a_nic_of_the_kernel_is_refused_and_left_alone(any_nic):
    any_nic.bind(any_nic.model)
    interface = any_nic.interface
    why = rf"driver {any_nic.model} \(interface {interface}\).*dpdk-devbind.*{any_nic.address}"
    with pytest.raises(wp.DeviceBusy, match=why):
        wp.open(any_nic.spec, steer=wp.everything())
    assert any_nic.driver == any_nic.model
    assert any_nic.interface == interface


def test_a_nic_without_a_driver_is_refused(any_nic):
    any_nic.unbind()
    with pytest.raises(wp.DeviceBusy, match=rf"no driver.*dpdk-devbind.*{any_nic.address}"):
        wp.open(any_nic.spec, steer=wp.everything())


def test_an_address_without_a_device():
    with pytest.raises(wp.ConfigError, match=r"no PCI device 0000:00:19\.0.*lspci -D"):
        wp.open("dpdk:0000:00:19.0", steer=wp.everything())


def test_a_device_that_is_no_nic():
    """The host bridge has no driver."""
    with pytest.raises(wp.DeviceBusy, match="bound to no driver"):
        wp.open("dpdk:0000:00:00.0", steer=wp.everything())


def test_a_nic_is_open_once(nic):
    with (
        wp.open(nic.spec, steer=wp.everything()),
        pytest.raises(wp.DeviceBusy, match="open in this process already"),
    ):
        wp.open(nic.spec, steer=wp.everything())
    wp.open(nic.spec, steer=wp.everything()).close()


def test_a_nic_of_another_process_is_refused(nic):
    with wp.open(nic.spec, steer=wp.everything()):
        kind, said = answer(OPEN, spec=nic.spec, options={})
    assert kind == "DeviceBusy", said
    assert nic.address in said


def test_without_hugepages(nic):
    kind, said = answer(OPEN, spec=nic.spec, options={"hugepages": "no", "eal_memory": 64})
    if nic.driver == "vfio-pci":  # the IOMMU translates addresses of any memory
        assert (kind, said) == ("open", "virtual")
    else:
        assert kind == "BackendUnavailable", said
        assert "hugepages" in said


def test_a_nic_that_knows_physical_addresses_only(nics):
    """With an IOMMU and without: EAL would take virtual addresses with one, left to itself."""
    nics["vmxnet3"].bind("uio_pci_generic")
    assert answer(OPEN, spec=nics["vmxnet3"].spec, options={}) == ["open", "physical"]
    if nics["e1000e"].driver == "vfio-pci":
        told = answer(
            """
            import json
            import wirepath as wp
            with wp.open({first!r}, steer=wp.everything()) as port:
                try:
                    wp.open({second!r}, steer=wp.everything())
                except wp.BackendUnavailable as error:
                    print(json.dumps([port.info()["iova"], str(error)]))
            """,
            first=nics["e1000e"].spec,
            second=nics["vmxnet3"].spec,
        )
        assert told[0] == "virtual"
        assert "first dpdk port of its process" in told[1]


def test_more_memory_than_there_are_hugepages(nic):
    with pytest.raises(wp.PortError, match=r"no memory left.*vm\.nr_hugepages="):
        wp.open(nic.spec, steer=wp.everything(), max_held=1_000_000)
    wp.open(nic.spec, steer=wp.everything()).close()


def test_it_opens_again_after_kill(nic, peer):
    held = subprocess.Popen(
        script(
            """
            import wirepath as wp
            port = wp.open({spec!r}, steer=wp.everything())
            print("open", flush=True)
            while True:
                port.poll(None).release()
            """,
            spec=nic.spec,
        ),
        stdout=subprocess.PIPE,
    )
    assert held.stdout.readline() == b"open\n"
    peer.send([bytes.fromhex("ffffffffffff020000000001") + bytes(48)] * 300)
    os.kill(held.pid, signal.SIGKILL)
    held.wait()
    held.stdout.close()
    with wp.open(nic.spec, steer=wp.everything()) as port:
        peer.send([bytes.fromhex("ffffffffffff020000000002") + bytes(48)] * 20)
        with port.poll(5) as batch:
            assert len(batch)
