"""The router in user space against its program in the kernel, over the same tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wirepath.programs import kernel

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}"),
]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_user_space_and_driver_do_the_same(tmp_path: Path, seed: int) -> None:
    """Of 1,500 frames each: what leaves by which port, what the host gets, and all counters."""
    script = Path(__file__).parent / "route_user_differential.py"
    done = subprocess.run(
        ["unshare", "--net", "--", sys.executable, str(script), str(tmp_path), str(seed)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    user, kernel = said["user"], said["kernel"]
    assert user["missing"] == 0
    assert user["received"] == 1500
    assert user["counters"] == kernel["counters"]
    assert user["sent"] == kernel["sent"]
    assert user["to_host"] == kernel["to_host"]
    for verdict in ("redirect", "pass", "drop"):
        assert kernel["verdicts"][verdict] > 50, kernel["verdicts"]
    assert min(map(len, user["sent"])) > 50
