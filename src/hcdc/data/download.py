"""Files from the network: resumed, verified, and whole or absent."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import urllib.request
import zipfile
import zlib
from http.client import HTTPException, IncompleteRead
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.error import HTTPError

from hcdc.errors import DataError, FormatError, HcdcError

BLOCK = 1 << 20
"""Bytes that are copied at a time."""


def fetch(url: str, path: Path, sha256: str | None = None, *, timeout: float = 60.0) -> Path:
    """`path`, fetched from `url` over http or https where it is absent; its SHA-256 is checked either way.

    What has arrived is kept in `path`.part, which the next call completes by an HTTP range; the file gets its name
    last. Without `sha256` the hash of the first download is written to `path`.sha256, in the form that sha256sum
    reads, and holds from then on. Raises `DataError` where the file cannot be had, `FormatError` where it is not the
    one expected. `timeout` is in seconds without an answer.
    """
    if not url.startswith(("http://", "https://")):
        raise DataError("url", url, "must be http or https", "give the address of a file on a web server")
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            _download(url, path, sha256, timeout)
        else:
            _verify(path, path, sha256, "delete it and fetch it again")
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HcdcError):
            raise
        raise DataError("url", url, f"could not be fetched ({error})", f"try again, or put the file at {path} yourself") from error
    return path


def _download(url: str, path: Path, sha256: str | None, timeout: float) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError("url", url, f"another process is fetching it to {part}", "wait for it") from error
        if path.is_file():  # another process was faster
            return
        total = _receive(url, file, timeout)
        file.flush()
        size = os.fstat(file.fileno()).st_size
        if total is not None and size != total:
            raise DataError("url", url, f"the connection ended after {size} of {total} bytes", "call again: it goes on from there")
        os.fsync(file.fileno())
        try:
            _verify(part, path, sha256, "what arrived was deleted; try again, and if it stays so ask where the file comes from")
        except FormatError:
            part.unlink()
            raise
        os.replace(part, path)


def _receive(url: str, file: BinaryIO, timeout: float) -> int | None:
    """Append what `file` lacks of the answer; the size that the whole should have, where the server says it."""
    have = os.fstat(file.fileno()).st_size
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        response: Any = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        with error:
            if error.code != 416 or not have:  # 416: nothing from `have` on
                raise
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return have
        file.truncate(0)
        return _receive(url, file, timeout)
    with response:
        begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if have and not (response.status == 206 and begins and int(begins[1]) == have):
            file.truncate(0)
            if response.status == 206:
                return _receive(url, file, timeout)
            have = 0
        length = response.headers.get("Content-Length")
        try:
            shutil.copyfileobj(response, file, BLOCK)
        except IncompleteRead as error:
            file.write(error.partial)
        return None if length is None else have + int(length)


def _verify(file: Path, path: Path, sha256: str | None, remedy: str) -> None:
    """Compare `file` with `sha256`, else with the record beside `path`, else make that record."""
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    record = path.with_name(f"{path.name}.sha256")
    if sha256 is None and not record.exists():
        scratch = path.with_name(f"{record.name}.part")
        with scratch.open("w") as content:
            content.write(f"{found}  {path.name}\n")
            content.flush()
            os.fsync(content.fileno())
        os.replace(scratch, record)
    expected = sha256 or record.read_text(errors="replace").partition(" ")[0].strip()
    if found != expected.lower():
        said = "the caller" if sha256 else str(record)
        raise FormatError(f"{path}: has SHA-256 {found[:12]}…, {said} expects {expected[:12]}…; {remedy}")


def extract(archive: Path, top: str, folder: Path, *, limit: int) -> Path:
    """Unpack the folder `top` of a zip as `folder`, which appears whole or not at all.

    Its members are plain files of `limit` bytes in total at most. A name that would leave the folder and a link are
    refused with `FormatError`, wherever in the archive they are; `DataError` where the disk refuses.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as whole, tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            members = [member for member in whole.infolist() if _safe_parts(archive, member)[0] == top]
            size = sum(member.file_size for member in members)
            if not members or size > limit:
                raise FormatError(f"{archive}: must hold a folder {top} of at most {limit} bytes, has {size} in it; delete it and fetch it again")
            whole.extractall(scratch, members)
            os.replace(Path(scratch) / top, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise FormatError(f"{archive}: not a whole zip ({error}); delete it and fetch it again") from error
    except OSError as error:
        raise DataError(
            "DATA", str(folder), f"could not be unpacked from {archive} ({error})", "make room, in a folder that can be written"
        ) from error
    return folder


def _safe_parts(archive: Path, member: zipfile.ZipInfo) -> tuple[str, ...]:
    """The folders and the name of a member; `FormatError` where they or its kind are not safe to unpack."""
    parts = PurePosixPath(member.filename).parts
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not parts or parts[0] == "/" or ".." in parts or "\\" in member.filename or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise FormatError(f"{archive}: the member {member.filename!r} has no place in a data set; delete it and fetch it again")
    return parts
