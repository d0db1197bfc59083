"""Many captures: in processes of this machine, or as tasks of a Ray cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ExtraMissing, PortError, WirepathError
from ..settings import problem
from .child import config_of, values_of
from .folder import recover
from .one import convert_one
from .options import ConvertConfig, name_of

Progress = Callable[[str, int], object]


def check(captures: Sequence[str], config: ConvertConfig) -> None:
    """Raises ConfigError for captures that cannot all be converted into one folder."""
    if not captures:
        raise ConfigError("captures are missing: name one or more")
    if config.to != "npy":
        from ..tables.layout import pyarrow  # noqa: PLC0415

        pyarrow()
    names: dict[str, str] = {}
    for capture in captures:
        name = name_of(capture)
        if name in names:
            raise ConfigError(
                f"{names[name]} and {capture} would both become {Path(config.out) / name}: convert "
                "them into different folders (--out)"
            )
        names[name] = capture
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f'out = "{out}" is not usable: it must be a folder')
    for name in names:
        recover(out / name)
    there = [str(out / name) for name in names if (out / name).exists()]
    if there and not config.force:
        raise ConfigError(
            f"{', '.join(there[:3])}{', …' if len(there) > 3 else ''} is there already: name "
            "another folder (--out), or replace it (--force)"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'out = "{out}" cannot be made: {error.strerror}') from None


def failed(capture: str, error: str) -> dict[str, Any]:
    """The result of a capture that nothing came of."""
    return {
        "capture": capture, "out": "", "ok": False, "error": error, "kind": "", "rows": 0,
        "rows_by_type": {}, "files": 0, "rows_out_of_time": 0, "output_bytes": 0, "seconds": 0.0,
        "rows_per_second": 0.0,
        "frames": 0, "messages": 0, "by_type": {}, "unknown": 0, "malformed": 0, "gaps": 0,
        "missing": 0, "abandoned": [], "lines": [], "peak_rss_bytes": 0,
        "input_bytes": Path(capture).stat().st_size if Path(capture).is_file() else 0,
    }  # fmt: skip


class _Children:
    """Processes that are running, so that all of them end when we do."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._ending = False

    def convert(
        self, capture: str, config: ConvertConfig, on_progress: Progress | None
    ) -> dict[str, Any]:
        """One capture in a process of its own."""
        with self._lock:
            if self._ending:
                return failed(capture, "interrupted")
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "wirepath.conversion.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
            self._running.add(child)
        errors: list[str] = []
        assert child.stdin and child.stdout and child.stderr
        reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))  # type: ignore[union-attr]
        reader.start()
        result: dict[str, Any] | None = None
        try:
            child.stdin.write(json.dumps({"capture": capture, "config": values_of(config)}))
            child.stdin.close()
            for line in child.stdout:
                told = json.loads(line)
                if "rows" in told and on_progress is not None:
                    on_progress(capture, told["rows"])
                if "failed" in told:
                    result = failed(capture, told["failed"])
                result = told.get("result", result)
        except BrokenPipeError:
            pass  # it ended before it had read: its exit code says why
        finally:
            code = child.wait()
            reader.join()
            child.stdout.close()
            child.stderr.close()
            with self._lock:
                self._running.discard(child)
        if result is not None:
            return result
        recover(Path(config.out) / name_of(capture))
        if code < 0:
            return failed(capture, f"its process was ended by signal {-code}")
        lines = errors[0].strip().splitlines() if errors else []
        return failed(capture, f"its process ended with {code}: {lines[-1] if lines else ''}")

    def end(self) -> None:
        """End those that run; no more are started."""
        with self._lock:
            self._ending = True
            for child in self._running:
                child.terminate()


def on_processes(
    captures: Sequence[str], config: ConvertConfig, jobs: int, on_progress: Progress | None
) -> list[dict[str, Any]]:
    """So many at a time, each in a process of its own: one that dies takes no other with it."""
    children = _Children()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(children.convert, c, config, on_progress) for c in captures]
        try:
            return [future.result() for future in futures]
        except BaseException:
            children.end()
            raise


def in_process(capture: str, config: ConvertConfig, on_progress: Progress | None) -> dict[str, Any]:
    """One capture, here."""
    tell = None if on_progress is None else lambda rows: on_progress(capture, rows)
    try:
        return convert_one(capture, config, tell)
    except ExtraMissing:
        raise
    except (WirepathError, OSError) as error:
        return failed(capture, str(error))


def _task(capture: str, values: dict[str, Any]) -> dict[str, Any]:
    return in_process(capture, config_of(values), None)


_RAY_HINT = "ray start --head makes a cluster; an address is HOST:PORT, ray://HOST:PORT or auto"


def _check_ray(address: str) -> None:
    """Ray itself waits for minutes where nobody answers. Raises ConfigError, PortError."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(problem("ray", address, f"the address of a cluster ({_RAY_HINT})"))
    try:
        socket.create_connection((host.strip("[]"), int(port)), 5).close()
    except (OSError, OverflowError) as error:
        raise PortError(f'ray = "{address}" cannot be reached: {error} ({_RAY_HINT})') from None


def on_ray(
    captures: Sequence[str], config: ConvertConfig, address: str, on_progress: Progress | None
) -> list[dict[str, Any]]:
    """Tasks of a Ray cluster, a core each. Captures and results are paths that its nodes share."""
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise ExtraMissing(
            f"ray is needed for a Ray cluster and cannot be imported ({error}): "
            "pip install 'wirepath[ray]', or leave --ray out to use the cores of this machine"
        ) from None
    values = values_of(config) | {"out": os.path.abspath(config.out)}  # noqa: PTH100 -- of a str
    if config.schema_file:
        values["schema_file"] = str(Path(config.schema_file).resolve())
    mine = not ray.is_initialized()
    if mine:
        _check_ray(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise PortError(f'ray = "{address}" cannot be reached: {error} ({_RAY_HINT})') from None
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(_task)
        paths = {str(c): str(Path(c).resolve()) for c in captures}
        waiting = {remote.remote(paths[str(c)], values): str(c) for c in captures}
        done: dict[str, dict[str, Any]] = {}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            for reference in ready:
                capture = waiting.pop(reference)
                try:
                    result = ray.get(reference) | {"capture": capture}
                except ray.exceptions.RayError as error:
                    lines = str(error).strip().splitlines()
                    result = failed(capture, f"its task failed: {lines[-1] if lines else error}")
                done[capture] = result
                if on_progress is not None:
                    on_progress(capture, result["rows"])
        return [done[str(c)] for c in captures]
    finally:
        if mine:
            ray.shutdown()
