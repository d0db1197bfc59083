"""A chain on an interface that has libxdp's dispatcher, where that cannot be joined."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import wirepath as wp
from wirepath import programs
from wirepath.lab import Lab
from wirepath.programs import kernel
from wirepath.programs.source import _bpf_command

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        kernel.unavailable_reason() is not None,
        reason=f"unsupported: {kernel.unavailable_reason()}",
    ),
]

#: By its name the dispatcher, without a place for anybody.
FULL = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int xdp_dispatcher(struct xdp_md* ctx) { return ctx->data ? XDP_PASS : XDP_DROP; }
char _license[] SEC("license") = "GPL";
"""


def test_what_cannot_be_joined_is_told_and_left_as_it_was(lab_name: str, tmp_path: Path) -> None:
    source, image = tmp_path / "full.bpf.c", tmp_path / "full.bpf.o"
    source.write_text(FULL)
    subprocess.run(_bpf_command(source, image), check=True)
    with Lab(lab_name) as lab, lab["b"].enter():
        name = lab["b"].interface.name
        full = programs.load(image)
        with full.attach(name) as attachment:
            mode = attachment.mode
            words = rf"{name} has libxdp's dispatcher \(XDP program {full.id}, {mode}\)"
            with pytest.raises(wp.DeviceBusy, match=rf"{words}.*joining it failed: .+xdp-loader"):
                programs.Chain(name)
            other = "native" if mode == "generic" else "generic"
            with pytest.raises(wp.DeviceBusy, match=rf"in mode {mode}, and mode {other} was asked"):
                programs.Chain(name, other)
            [there] = programs.attached(name)
            assert (there.name, there.program_id) == ("xdp_dispatcher", full.id)
        with programs.Chain(name) as chain:  # nothing of it is left
            assert chain.slots() == []
            assert [each.name for each in programs.attached(name)] == ["wirepath_root"]
