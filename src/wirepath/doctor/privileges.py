# SPDX-License-Identifier: Apache-2.0
"""What this user may do."""

from __future__ import annotations

from ..privileges import BITS
from ..registry import CAPABILITIES
from ._model import Case, Outcome, blocker, machine_check, ok

CAP_IPC_LOCK = BITS["CAP_IPC_LOCK"]


@machine_check(
    "privileges.capabilities",
    reads="/proc/thread-self/status: CapEff, Uid; uid_map",
    why="AF_XDP needs capabilities to open; wirepath needs none to receive by sockets.",
)
def capabilities(case: Case) -> Outcome:
    have = case.machine.capabilities
    if case.machine.in_user_namespace:
        return blocker(
            "this process is in a user namespace, where capabilities do not count for BPF",
            "root of the machine itself: no rootless container, no user namespace remapping",
        )
    missing = [name for name in CAPABILITIES["af_xdp"] if not have >> BITS[name] & 1]
    if "CAP_BPF" in missing and have >> BITS["CAP_SYS_ADMIN"] & 1:
        missing.remove("CAP_BPF")
    uid = (case.machine.status.get("Uid") or "?").split()[0]
    if not missing:
        return ok(f"user {uid} has {', '.join(CAPABILITIES['af_xdp'])}")
    names = ",".join(missing).lower()
    return blocker(
        f"user {uid} lacks {', '.join(missing)}",
        f"run as root, or: setcap {names}+ep $(readlink -f $(which python3)), or "
        f"AmbientCapabilities={' '.join(missing)} in a systemd unit",
    )


CHECKS = (capabilities,)
