"""Where a packet program comes from: one of wirepath's own, a C file, or an eBPF object."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .. import _core
from ..errors import BackendUnavailable, CompileError, ConfigError, WirepathError
from ..stages import include

_BPF_COMPILERS = ("clang", *(f"clang-{n}" for n in range(21, 10, -1)))
_C_COMPILERS = ("cc", "gcc", *_BPF_COMPILERS)
_MAIN = re.compile(r"^\s*WP_PROGRAM\(\s*(\w+)\s*\)", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A program, as far as it can be had: ``bpf`` is its eBPF object; natively it is built in, or
    in the shared object ``native``, or (an object file) not there at all."""

    name: str
    bpf: bytes | None = field(repr=False)
    native: Path | None = None
    builtin: bool = False
    path: Path | None = None
    why_no_bpf: str = ""
    why_no_native: str = ""


def builtin_names() -> list[str]:
    """The programs that are part of wirepath."""
    return _core.builtin_programs()


def find(source: str | Path | Source, *, bpf: bool = True, native: bool = True) -> Source:
    """The program ``source``: a built-in one's name, a C file or an eBPF object (``.o``).

    bpf, native: which of the two builds are needed. Raises :class:`ConfigError` for a file that
    is no program, :class:`CompileError` with what the compiler said, and
    :class:`BackendUnavailable` where a compiler is missing, with what to install.
    """
    if isinstance(source, Source):
        return source
    text = str(source)
    if text in builtin_names():
        return _builtin(text, bpf)
    path = Path(text)
    if path.suffix not in (".c", ".o"):
        names = ", ".join(builtin_names())
        raise ConfigError(
            f'program = "{text}" is not usable: it must be one of {names}, a C file or an eBPF '
            "object (.o)"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{text} cannot be read: {error.strerror}") from None
    if path.suffix == ".o":
        name = path.name.removesuffix(".o").removesuffix(".bpf")
        return Source(name, content, path=path, why_no_native=f"{text} is an eBPF object")
    return _compiled(path, content, bpf=bpf, native=native)


def _builtin(name: str, bpf: bool) -> Source:
    if not bpf:
        return Source(name, None, builtin=True)
    from . import kernel  # noqa: PLC0415 -- needs libbpf, which this build may lack

    image = kernel.module().builtin_object(name)
    return Source(name, image, builtin=True)


def _compiled(path: Path, content: bytes, *, bpf: bool, native: bool) -> Source:
    found = _MAIN.search(content.decode(errors="replace"))
    if found is None:
        raise ConfigError(f"{path} is not a packet program: it has no WP_PROGRAM(name)")
    name = found.group(1)
    folder = _build_folder()
    stem = f"{name}-{hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()[:16]}"
    image = None
    if bpf:
        target = folder / f"{stem}-{os.getpid()}.bpf.o"
        _run(path, _bpf_command(path, target))
        image = target.read_bytes()
        target.unlink()
    library = None
    if native:
        # Kept while this process lives: the dynamic loader knows a library by its file.
        library = folder / f"{stem}-{os.getpid()}.so"
        _run(path, _native_command(path, library))
    return Source(name, image, library, path=path)


def _build_folder() -> Path:
    global _folder  # noqa: PLW0603 -- one a process
    if _folder is None:
        _folder = BuildFolder(Path(tempfile.gettempdir()))
    return _folder.path


class BuildFolder:
    """A folder for what was compiled, from here to the end of the process; making one removes those
    of processes of this user that were killed.

    A folder is somebody's as long as it is locked, which ends with the process however it ends.
    Where the file system has no locks nothing is ever removed but at a process's own end.
    """

    def __init__(self, base: Path) -> None:
        for left in base.glob(_PREFIX + "*"):
            _remove_unused(left)
        self._lock: int | None = None
        for _ in range(_TRIES):
            self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=base)
            self.path = Path(self._folder.name)
            try:
                self._lock = _locked(self.path)
            except _NoLocksError:
                return
            # Another process that looks for folders left behind may have seen this one unlocked.
            if self._lock is not None and self.path.is_dir():
                return
            self.close()
        raise WirepathError(
            f"no folder for compiled programs stays in {base}: {_TRIES} were removed at once by "
            "others (set TMPDIR to a folder that nobody else clears)"
        )

    def close(self) -> None:
        """Remove it now."""
        self._folder.cleanup()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _NoLocksError(Exception):
    """The file system has no locks."""


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder; None: it is gone, somebody else's, or in use. Raises
    _NoLocksError."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(fd).st_uid != os.geteuid():
            raise PermissionError
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in _NO_LOCKS:
            raise _NoLocksError from error
        return None
    return fd


def _remove_unused(folder: Path) -> None:
    try:
        fd = _locked(folder)
    except _NoLocksError:
        return
    if fd is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


_PREFIX = "wirepath-programs-"
_TRIES = 10
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_folder: BuildFolder | None = None


def _tool(names: tuple[str, ...], what: str, package: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    raise BackendUnavailable(f"{what} needs a compiler, and there is none (apt install {package})")


def _bpf_command(path: Path, target: Path) -> list[str]:
    clang = _tool(_BPF_COMPILERS, f"building {path} to eBPF", "clang")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    helpers = next((p for p in ("/usr/include", "/usr/local/include") if _has_helpers(p)), None)
    if helpers is None:
        raise BackendUnavailable(
            f"building {path} to eBPF needs bpf/bpf_helpers.h (apt install libbpf-dev)"
        )
    return [
        *(clang, "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra"),
        *("-I", str(include()), "-I", f"/usr/include/{multiarch}", "-I", helpers),
        *("-c", str(path), "-o", str(target)),
    ]


def _has_helpers(folder: str) -> bool:
    return (Path(folder) / "bpf" / "bpf_helpers.h").exists()


def _native_command(path: Path, target: Path) -> list[str]:
    compiler = _tool(_C_COMPILERS, f"building {path} natively", "gcc")
    return [
        *(compiler, "-O3", "-g", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"),
        *("-I", str(include()), str(path), "-o", str(target)),
    ]


def _run(path: Path, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise CompileError(f"{path} does not compile ({' '.join(command)}):\n{done.stderr.strip()}")
