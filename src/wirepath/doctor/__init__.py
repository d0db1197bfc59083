# SPDX-License-Identifier: Apache-2.0
"""What in this machine stands in the way of low latency and of kernel bypass.

>>> from wirepath import doctor
>>> report = doctor.examine("eth0")                                   # doctest: +SKIP
>>> for finding in report.findings:                                   # doctest: +SKIP
...     print(finding.severity, finding.check, finding.evidence, finding.mend)
"""

from __future__ import annotations

from ._examine import CHECKS, Interface, Report, examine
from ._model import Case, Check, Finding, Outcome, Severity
from .backends import Way
from .irqs import MapLine

__all__ = [
    "CHECKS",
    "Case",
    "Check",
    "Finding",
    "Interface",
    "MapLine",
    "Outcome",
    "Report",
    "Severity",
    "Way",
    "examine",
]
