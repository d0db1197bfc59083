"""Where programs are compiled: a folder that goes with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wirepath.errors import WirepathError
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


def refusing(number: int) -> Callable[[int, int], None]:
    def flock(fd: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_it_has_a_folder_and_removes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    other = tmp_path / "wirepath-programs-other"
    other.mkdir()
    ours = BuildFolder(tmp_path)
    assert ours.path.is_dir()
    second = BuildFolder(tmp_path)
    assert ours.path.is_dir() and other.is_dir()
    for folder in (ours, second):
        folder.close()
    assert list(tmp_path.iterdir()) == [other]


def test_a_folder_that_others_always_remove_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before, taken = open_files(), fcntl.flock

    def flock(fd: int, how: int) -> None:
        taken(fd, how)
        Path(f"/proc/self/fd/{fd}").resolve().rmdir()

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(WirepathError, match=r"10 were removed .* TMPDIR"):
        BuildFolder(tmp_path)
    assert open_files() == before
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EWOULDBLOCK))
    with pytest.raises(WirepathError, match="TMPDIR"):
        BuildFolder(tmp_path)
    assert list(tmp_path.iterdir()) == []
