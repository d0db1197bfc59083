"""The forwarding program in the kernel (BPF_PROG_RUN) does what the naive model and the native
build say; by the kernel's own table as well, but for what is promised to differ."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from route_kernel_try import ROUTES, KernelTried, kernel_models, make_links, model
from route_lab import checksum
from route_naive import OURS, PEER, Model, frames
from route_try import Tried, models

from wirepath.lab import Lab
from wirepath.programs import kernel

WHY_NOT = kernel.unavailable_reason()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}")
SETTINGS = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@given(models(), st.lists(frames(), min_size=30, max_size=120))
@SETTINGS
def test_it_agrees_with_the_model(model: Model, cases: list[bytes]) -> None:
    tried = Tried(model, native=False)
    for frame in cases:
        tried.agree(frame)
    tried.totals(cases)


@pytest.fixture
def links(lab_name: str) -> Iterator[None]:
    """The links of the model, in a network namespace that this thread is in."""
    with Lab(lab_name, ["r", "b"]) as lab, lab["r"].enter():
        make_links()
        yield


@pytest.mark.lab
@given(kernel_models(), st.lists(frames(), min_size=30, max_size=120))
@SETTINGS
@pytest.mark.usefixtures("links")
def test_the_kernels_table_agrees_with_the_model_and_wirepaths_tables(
    model: Model, cases: list[bytes]
) -> None:
    """The same frames and routes through both planes in the driver."""
    tables, kernels = Tried(model, native=False), KernelTried(model)
    for frame in cases:
        tables.agree(frame)
        kernels.agree(frame)
    tables.totals(cases)
    kernels.totals(cases)


def udp(source: str, destination: str, *, port: int = 1000, payload: int = 100) -> bytes:
    """A frame for the router's first port."""
    ends = ip_address(source).packed + ip_address(destination).packed
    transport = struct.pack("!HHHH", port, 53, 8 + payload, 0) + bytes(payload)
    if len(ends) == 32:
        head = struct.pack("!IHBB", 6 << 28, len(transport), 17, 64) + ends
        return OURS + PEER + b"\x86\xdd" + head + transport
    head = struct.pack("!BBHIBBH", 0x45, 0, 20 + len(transport), 7, 64, 17, 0) + ends
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    return OURS + PEER + b"\x08\x00" + head + transport


@pytest.mark.lab
@pytest.mark.usefixtures("links")
@pytest.mark.parametrize(
    ("name", "flags", "frame", "tables", "kernels"),
    [
        ("no route", set(), ("10.9.9.9", "3fff::1"), "to_host_no_route", "to_host_local"),
        ("no route", set(), ("10.9.9.9", "8.8.8.8"), "to_host_no_route", "to_host_local"),
        ("rpf to host", {"strict"}, ("8.8.8.8", "10.9.9.9"), "drop_rpf", "to_host_rpf"),
        ("rpf to host", {"loose"}, ("8.8.8.8", "10.9.9.9"), "drop_rpf", "to_host_rpf"),
        ("mtu before rpf", {"strict"}, ("10.9.9.9", "10.1.2.129"), "drop_rpf", "to_host_mtu"),
    ],
)
def test_the_promised_differences(
    name: str, flags: set[str], frame: tuple[str, str], tables: str, kernels: str
) -> None:
    without = {p: g for p, g in ROUTES.items() if p != "0.0.0.0/0"}
    made = model(without, {"up"} | flags)
    source, destination = frame
    if ":" in destination:
        source = "2001:db8::1"
    case = udp(source, destination, payload=1400 if name.startswith("mtu") else 100)
    ours, theirs = Tried(made, native=False), KernelTried(made)
    ours.agree(case)
    assert ours.whys == {tables: 1}
    assert theirs.agree(case) == kernels
    assert theirs.differences == {name: 1}


@pytest.mark.lab
@pytest.mark.usefixtures("links")
def test_both_spread_over_all_paths_each_by_a_hash_of_its_own() -> None:
    made = model(ROUTES, {"up"})
    ours, theirs = Tried(made, native=False), KernelTried(made)
    cases = [udp("10.9.9.9", f"10.1.2.{n % 128}", port=n) for n in range(1, 257)]
    for case in cases:
        ours.agree(case)
        assert theirs.agree(case) == "forwarded4"
    assert ours.whys == {"forwarded4": 256}
    assert set(theirs.differences) == {"path"}


@pytest.mark.lab
@pytest.mark.usefixtures("links")
def test_of_several_paths_back_the_kernel_looks_at_one() -> None:
    """A source in a group whose members lead elsewhere too: wirepath's strict filter takes any."""
    made = model(ROUTES, {"up", "strict"})
    ours, theirs = Tried(made, native=False), KernelTried(made)
    # The group's members lead out of 2, 3 and 5; what comes in with tag 7 comes from 5.
    for n in range(1, 257):
        case = udp(f"10.1.2.{n % 128}", "10.9.9.9", port=n)
        case = case[:12] + b"\x81\x00\x00\x07" + case[12:]
        ours.agree(case)
        theirs.agree(case)
    assert ours.whys == {"forwarded4": 256}
    assert set(theirs.whys) == {"forwarded4", "to_host_rpf"}
    assert set(theirs.differences) == {"rpf by one path"}
