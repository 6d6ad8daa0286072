"""Where Optuna keeps its studies: opened for this and other processes, or refused in one line."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from hcdc.errors import FormatError, InputError, MissingExtraError
from hcdc.store import StorageError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

TIMEOUT = 20.0
"""Seconds to wait for a SQLite file that another process writes to."""

TABLES = {"studies", "trials", "version_info"}


def require_optuna() -> None:
    """Raise `MissingExtraError` where a study could not be run."""
    for module in ("optuna", "cmaes"):
        if find_spec(module) is None:
            raise MissingExtraError(module, "optuna")


def open_storage(place: str | None) -> BaseStorage:
    """The storage at `place`: a URL of a database, the path of a journal (it ends in .log) or of a SQLite file; None is memory.

    A file that holds something else is left as it is. Raises `FormatError` for such a file, `StorageError` for one that
    is locked or cannot be opened, `InputError` for a URL that names no database.
    """
    from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import ArgumentError

    if place is None:
        return InMemoryStorage()
    path = local(place)
    if path is not None and path.suffix == ".log":
        _check_journal(path)
        with storage_errors(place):
            return JournalStorage(JournalFileBackend(str(path)))
    if path is not None:
        _check_sqlite(path)
    with storage_errors(place):
        try:
            if path is not None and (not path.is_file() or path.stat().st_size == 0):
                _make_sqlite(path)
            waiting = {"connect_args": {"timeout": TIMEOUT}} if path is not None else None
            return RDBStorage(place if "://" in place else f"sqlite:///{place}", engine_kwargs=waiting)
        except (ArgumentError, ImportError) as error:
            rule = "must be a URL such as sqlite:///FILE or mysql://..., whose driver is installed, or a path"
            raise InputError("storage", place, rule, "mend it") from error
        except RuntimeError as error:
            raise FormatError(f"{place} was made by another version of Optuna ({error})") from error


@contextlib.contextmanager
def storage_errors(place: str | None) -> Generator[None]:
    """What a database raises, in words of ours."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = str(error.__cause__ or error).split("\n")[0]
        if "locked" in reason:
            raise StorageError(_locked(place)) from error
        raise StorageError(f"the study in {place} cannot be used: {reason}") from error
    except json.JSONDecodeError as error:
        raise FormatError(f"{place} is a damaged journal ({error}); remove the line, or choose another storage") from error


@contextlib.contextmanager
def one_at_a_time(place: str | None) -> Generator[None]:
    """Processes that open the same local file take turns, so that one of them makes the tables and the study."""
    path = None if place is None else local(place)
    if path is None or not path.parent.is_dir():
        yield
        return
    turn = path.with_name(f".{path.name}.turn")
    handle = _lock(turn)
    try:
        yield
    finally:
        turn.unlink(missing_ok=True)
        os.close(handle)


def _lock(turn: Path) -> int:
    """A handle that holds the file `turn` alone; who waited for one that its holder removed waits for the next."""
    while True:
        try:
            handle = os.open(turn, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(f"{turn.parent} cannot be written to ({error.strerror}); choose another storage") from error
        fcntl.flock(handle, fcntl.LOCK_EX)
        if turn.exists() and os.path.samestat(os.fstat(handle), turn.stat()):
            return handle
        os.close(handle)


def local(place: str) -> Path | None:
    """The file that `place` means, or None where it is a server or memory."""
    if "://" not in place:
        return Path(place)
    name = place.removeprefix("sqlite:///")
    return Path(name) if name != place and name and not name.startswith((":memory:", "file:")) else None


def _make_sqlite(path: Path) -> None:
    """An empty database of Optuna, made elsewhere and renamed: a kill on the way leaves none, not one without its tables."""
    from optuna.storages import RDBStorage

    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    RDBStorage(f"sqlite:///{scratch}").engine.dispose()
    os.replace(scratch, path)


def _check_journal(path: Path) -> None:
    """Refuse a file whose first line is not one of a journal, without writing to it."""
    try:
        with path.open("a+b") as file:
            file.seek(0)
            line = file.readline()
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}; choose another storage") from error
    try:
        valid = not line or "op_code" in json.loads(line)
    except (ValueError, TypeError):
        valid = False
    if not valid:
        raise FormatError(f"{path} is no journal of Optuna; choose another storage")


def _check_sqlite(path: Path) -> None:
    """Refuse a file that is no database, is locked, or holds tables of something else, without writing to it.

    Only what a killed process left half-written, of which SQLite's journal beside the file tells, is undone by opening it.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=TIMEOUT)) as connection:
            found = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        raise StorageError(_locked(str(path)) if "locked" in str(error) else f"cannot open {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise FormatError(f"{path} is no Optuna study ({error}); choose another storage") from error
    if found and not found >= TABLES:
        raise FormatError(f"{path} is no Optuna study (it has the tables {', '.join(sorted(found)[:5])}); choose another storage")


def _locked(place: str | None) -> str:
    return f"{place} is locked by another process and was for {TIMEOUT:g} s; wait for it, or choose another storage"
