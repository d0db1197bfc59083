"""Where programs are compiled: a folder that goes with its process, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from wirepath.programs.source import BuildFolder

HOLD = """
import sys, time
from pathlib import Path
from wirepath.programs.source import BuildFolder
folder = BuildFolder(Path(sys.argv[1]))
(folder.path / "program.so").write_text("x")
print(folder.path, flush=True)
sys.stdin.read()
"""


def holder(base: Path) -> tuple[subprocess.Popen[str], Path]:
    command = [sys.executable, "-c", HOLD, str(base)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_next_start_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    living, kept = holder(tmp_path)
    killed, left = holder(tmp_path)
    other = tmp_path / "wirepath-programs-link"
    outside = tmp_path / "outside"
    outside.mkdir()
    other.symlink_to(outside)
    killed.send_signal(signal.SIGKILL)
    killed.wait(20)
    assert (left / "program.so").exists()
    ours = BuildFolder(tmp_path)
    try:
        assert not left.exists()
        assert (kept / "program.so").exists()
        assert outside.is_dir()
        assert ours.path.stat().st_mode & 0o777 == 0o700
        assert ours.path.stat().st_uid == os.geteuid()
    finally:
        ours.close()
        living.communicate("", timeout=20)
    assert living.returncode == 0
    assert not ours.path.exists()
    assert not kept.exists()
