"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from hcdc._device import here
from hcdc.errors import FormatError, HcdcError, RunExistsError


class StorageError(HcdcError):
    """The disk refused: full, read-only, or no permission."""


SCRATCH = ".*.part"
"""Names of files that are being written; one that stays was left by a process that was killed."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write, fsync, rename, fsync the folder: after a crash or a power cut `path` holds its old content or the new one,
    never a part, and what was written before it is there too."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; nothing was changed") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
        _sync(path.parent)
    except OSError as error:
        Path(scratch).unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}; nothing was changed") from error
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Put the names in `folder` on disk, where its file system can; the file itself is there already."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written; only for the one that holds `folder`."""
    for path in folder.glob(SCRATCH):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """As `write_bytes`; NaN and infinity are refused, since JSON has neither."""
    write_bytes(path, json.dumps(value, indent=1, allow_nan=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Parsed JSON; `FormatError` when absent, not text or not JSON, which has no NaN and no infinity."""
    try:
        return json.loads(path.read_bytes(), parse_constant=_finite, parse_float=_finite)
    except FileNotFoundError as error:
        raise FormatError(f"{path} is missing; is its folder a finished run?") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not whole JSON ({error}); it was truncated or edited") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no number")
    return value


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """A safetensors file, written whole; returns its SHA-256."""
    # A copy of each: safetensors refuses tensors that share memory.
    content = safetensors.torch.save({key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()})
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Tensors of a safetensors file whose hash is `sha256` (None: whatever it is); `FormatError` otherwise."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise FormatError(f"{path} has SHA-256 {found[:12]}…, its card says {sha256[:12]}…; it was truncated or edited")
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise FormatError(f"{path} is not a whole safetensors file ({error})") from error
    device = here()
    return {name: value.to(device) for name, value in tensors.items()}


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold `folder`, made if absent, against other processes; what a killed one left half-written is removed.

    Raises `StorageError` where it cannot be written to, `RunExistsError` where another process holds it. The lock
    is on the folder itself and is gone with the process, however that ends.
    """
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder}: is a file, and must be a folder; choose another name")
    probe = folder / ".writable"
    write_bytes(probe, b"")
    probe.unlink(missing_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunExistsError(f"{folder}: another process is writing there; wait for it, or choose another folder") from error
        sweep(folder)
        yield
    finally:
        os.close(handle)
