"""``python -m wirepath.conversion.child``: one capture in a process of its own.

On standard input one JSON object, ``{"capture": …, "config": {…}}``; on standard output a line
``{"rows": N}`` now and then, and at the end ``{"result": {…}}`` or ``{"failed": …}``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from ..errors import WirepathError
from ..plain import plain
from .one import convert_one
from .options import ConvertConfig

_TELL_SECONDS = 0.2


def config_of(values: dict[str, Any]) -> ConvertConfig:
    """The configuration, from JSON."""
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return ConvertConfig(**(values | lists))


def values_of(config: ConvertConfig) -> dict[str, Any]:
    """The configuration as JSON."""
    out = {name: getattr(config, name) for name in config.model_fields_set}
    if config.session_date is not None:
        out["session_date"] = config.session_date.isoformat()
    return out


def main() -> int:
    """Do it; the exit code."""
    given = json.loads(sys.stdin.read())
    told = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            print(json.dumps({"rows": rows}), flush=True)

    try:
        result = convert_one(given["capture"], config_of(given["config"]), tell)
    except (WirepathError, OSError) as error:
        print(json.dumps({"failed": str(error), "kind": type(error).__name__}), flush=True)
        return 1
    print(json.dumps({"result": plain(result)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
