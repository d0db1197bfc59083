# SPDX-License-Identifier: Apache-2.0
"""The section of ./dev test --vm: tests/vm, once for each way to bind a NIC to DPDK."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence

from .. import checks, environment, system
from ..results import Section
from ..shell import CI, LOGS, ROOT, DevError, Stopwatch, say
from . import image, machine

_TEST_SECONDS = 240  # each, at most

BINDINGS = ("uio_pci_generic", "vfio-pci")
_NICS = "tests/vm"
# Of the labs, what needs links that not every kernel has. No NIC takes part: one boot does.
_LABS = (
    "tests/lab/test_router_links_lab.py",
    "tests/lab/test_route_lab.py::test_a_vlan_interface_is_its_link_and_a_tag",
    "tests/lab/test_route_lab.py::test_the_tables_of_a_vrf",
)

NEEDS = (
    system.Need(
        "QEMU",
        ("qemu-system-x86",),
        system.on_path(machine.QEMU),
        "the virtual machine",
    ),
)


def _command(binding: str, words: Sequence[str]) -> str:
    settings = {
        "PATH": f"{environment.VENV / 'bin'}:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
        "HOME": "/run/tmp",
        "TMPDIR": "/run/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
        "WIREPATH_VM": binding,
        **({"CI": "true"} if CI else {}),
    }
    pytest = [
        *(str(environment.PYTHON), "-m", "pytest", "-v", "--color=no"),
        *("-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
        *(f"--timeout={_TEST_SECONDS}", "--junitxml=/run/vm/pytest.xml"),
        *words,
    ]
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    lines += [f"cd {shlex.quote(str(ROOT))} || exit 2", f"exec {shlex.join(pytest)} 2>&1", ""]
    return "\n".join(lines)


def _boot(
    section: Section, files: image.Image, binding: str, words: Sequence[str], seconds: float
) -> None:
    watch = Stopwatch()
    say(f"virtual machine: Linux {files.version} in QEMU, NICs bound to {binding}")
    report = LOGS / f"vm-{binding}.xml"
    report.unlink(missing_ok=True)
    with machine.Machine(files, _command(binding, words), iommu=binding == "vfio-pci") as vm:
        with (LOGS / f"vm-{binding}.log").open("w") as log:
            for line in vm.console(seconds):
                print(line, flush=True)
                print(line, file=log, flush=True)
        made = vm.shared / "pytest.xml"
        if made.exists():
            shutil.copyfile(made, report)
            checks.read_junit(section, report, f"{binding}: ")
        if vm.code is None:
            section.bad(
                f"{binding}: the machine went down before its tests ended (the lines above)"
            )
        elif vm.code == 5:
            section.bad(f"{binding}: pytest selected no test")
        elif vm.code != 0 and section.failed == 0:
            section.bad(f"{binding}: pytest ended with exit code {vm.code}")
    say(f"{binding}: {watch.seconds():.0f} s")


def run(words: Sequence[str], bindings: Sequence[str], minutes: float) -> Section:
    """Boots the machine for each of the bindings and runs tests/vm in it, labs in the first."""
    watch, section = Stopwatch(), Section("vm")
    if system.which(machine.QEMU) is None:
        raise DevError(
            "there is no QEMU for x86-64: apt install qemu-system-x86 (--no-install off)"
        )
    LOGS.mkdir(parents=True, exist_ok=True)
    files = image.make()
    chosen = any((ROOT / word.split("::")[0]).exists() for word in words if word)
    for number, binding in enumerate(bindings or BINDINGS):
        paths = () if chosen else (_NICS, *(() if number else _LABS))
        try:
            _boot(section, files, binding, (*paths, *words), minutes * 60)
        except DevError as error:
            section.bad(f"{binding}: {error}")
    section.seconds = watch.seconds()
    return section
