# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while a command starts: one word and an exit code, whatever is being imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_SCRIPT = Path(sys.executable).with_name("wirepath")
# Says when Python's own start is over, and then goes on as `python -m wirepath` does.
_COMMANDS = {
    "module": [sys.executable, "-m", "wirepath"],
    "script": [str(_SCRIPT)],
}


@pytest.mark.parametrize("way", _COMMANDS)
def test_interrupted_at_any_moment_of_its_start(way, tmp_path):
    if way == "script" and not _SCRIPT.exists():
        pytest.skip("unsupported: the package is not installed as a command")
    # Before wirepath's first line it is Python's own start: the first module that it imports tells.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Tell:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'wirepath.doctor':\n"
        "            sys.meta_path.remove(self)\n"
        "            sys.stdout.write('importing\\n'); sys.stdout.flush()\n"
        "sys.meta_path.insert(0, Tell())\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path}
    seen = set()
    for delay in (0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5):
        child = subprocess.Popen(
            [*_COMMANDS[way], "feed", "socket:lo", "239.255.9.9:9", "--max-seconds", "20"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout.readline() == "importing\n"
        time.sleep(delay)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
        assert "Traceback" not in said, f"after {delay} s: {said}"
        assert child.returncode == 130, f"after {delay} s: {said}"
        seen.add("wirepath: interrupted" in said)
    assert True in seen


def test_a_program_that_imports_wirepath_keeps_its_own_handler():
    program = (
        "import signal, sys\n"
        "sys.argv[0] = sys.argv[1]\n"
        "import wirepath\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "feed.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_ignored_signal_stays_ignored():
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "sys.argv[0] = '/usr/bin/wirepath'\n"
        "import wirepath\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
