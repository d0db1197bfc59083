# SPDX-License-Identifier: Apache-2.0
"""Tuning a machine and a NIC: a plan shown first, changes that are written down before they are
made and read back after, and everything put back again.

    from wirepath import tune

    plan = tune.plan("latency", "eth1")          # changes nothing
    for setting in plan.changes:
        print(setting.knob, setting.current, "->", setting.wanted, setting.why)
    outcome = tune.apply(plan)
    ...
    tune.restore()
"""

from ._apply import Applied, Outcome, Progress, Step, apply
from ._emit import FORMATS, emit
from ._journal import Entry, Written
from ._knobs import Knob
from ._links import Identity
from ._machine import Machine, this_machine
from ._plan import Plan, Setting, plan
from ._profile import BUILT_IN, Profile
from ._restore import Restoration, Restored, pending, restore
from ._state import state_directory

__all__ = [
    "BUILT_IN",
    "FORMATS",
    "Applied",
    "Entry",
    "Identity",
    "Knob",
    "Machine",
    "Outcome",
    "Plan",
    "Profile",
    "Progress",
    "Restoration",
    "Restored",
    "Setting",
    "Step",
    "Written",
    "apply",
    "emit",
    "pending",
    "plan",
    "restore",
    "state_directory",
    "this_machine",
]
