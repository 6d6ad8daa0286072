"""Files are whole or absent, whatever fails while they are written."""

from __future__ import annotations

import errno
import hashlib
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hcdc.errors import FormatError, RunExistsError
from hcdc.store import StorageError, locked, read_json, write_bytes, write_json
from hcdc.store.files import read_tensors, write_tensors


def fail_with(error: BaseException) -> Any:
    def fail(*arguments: Any, **named: Any) -> None:
        raise error

    return fail


def test_write_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"new", b""):
        write_bytes(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("function", ["replace", "fsync", "fdopen"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, existing: bool) -> None:
    path = tmp_path / "file"
    if existing:
        path.write_bytes(b"old")
    monkeypatch.setattr(os, function, fail_with(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(StorageError, match="No space left on device; nothing was changed"):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert (path.read_bytes() if existing else None) == (b"old" if existing else None)
    assert list(tmp_path.iterdir()) == [path] * existing, "a scratch file was left"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError], ids=lambda e: e.__name__)
def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail_with(error()))
    with pytest.raises(error):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_disk_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync, rename, fsync of the folder: another order loses the file, or its name, to a power cut."""
    order: list[str] = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, original=original, name=name: (order.append(name), original(*a))[1])
    write_bytes(tmp_path / "file", b"content")
    assert order == ["fsync", "replace", "fsync"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below", tmp_path / "folder"):
        with pytest.raises(StorageError, match="cannot write"):
            write_bytes(path, b"content")
    with pytest.raises(StorageError, match="is a file, and must be a folder"), locked(tmp_path / "file"):
        raise AssertionError("a file was locked as if it were a folder")


def test_a_lock_makes_the_folder_leaves_nothing_in_it_and_keeps_others_out(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        assert list((tmp_path / "new").iterdir()) == []
        with pytest.raises(RunExistsError, match="another process"), locked(tmp_path / "new"):
            raise AssertionError("locked twice")
    with locked(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    """By whoever holds the folder next, and nothing else."""
    for name in (".card.json.abc12345.part", ".mine", "card.json"):
        (tmp_path / name).write_bytes(b"half")
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".mine", "card.json"}


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "ü": {"nested": "text"}, "tiny": 5e-324, "huge": 2**70}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_has_no_nan(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "value.json", {"loss": value})
    assert not (tmp_path / "value.json").exists()


@pytest.mark.parametrize("content", [b'{"a": NaN}', b"[-Infinity]", b"1e999"])
def test_numbers_that_are_none(tmp_path: Path, content: bytes) -> None:
    """Python would read them; what is read here can be written again."""
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(FormatError, match="is no number"):
        read_json(tmp_path / "value.json")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe", b"[" * 100_000, b"9" * 10_000], ids=["empty", "cut", "bytes", "deep", "digits"])
def test_broken_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"value\.json"):
        read_json(tmp_path / "value.json")


def test_absent_json(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(FormatError, match=path.name):
            read_json(path)


TENSORS = {
    "float": torch.randn(2, 3, generator=torch.Generator().manual_seed(0)),
    "double": torch.tensor([1.0, math.nan], dtype=torch.float64),
    "integer": torch.tensor([[1, -1]]),
    "mask": torch.tensor([True, False]),
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 4),
}


def test_tensors_round_trip(tmp_path: Path) -> None:
    sha256 = write_tensors(tmp_path / "t", TENSORS)
    found = read_tensors(tmp_path / "t", sha256)
    assert found.keys() == TENSORS.keys()
    for key, value in TENSORS.items():
        assert found[key].dtype == value.dtype
        assert found[key].shape == value.shape
        assert torch.equal(found[key].nan_to_num(nan=9), value.nan_to_num(nan=9))


def test_views_and_leaves_are_written_as_what_they_show(tmp_path: Path) -> None:
    """Tensors that share memory, are not contiguous, or ask for gradients."""
    base = torch.arange(6.0).reshape(2, 3)
    given = {"one": base, "same": base, "row": base[1], "turned": base.T, "wide": base[:1].expand(4, 3), "leaf": base.clone().requires_grad_()}
    found = read_tensors(tmp_path / "t", write_tensors(tmp_path / "t", given))
    assert all(torch.equal(found[key], value) for key, value in given.items())


def test_damaged_tensors(tmp_path: Path) -> None:
    sha256 = write_tensors(tmp_path / "t", TENSORS)
    whole = (tmp_path / "t").read_bytes()
    for content in (b"", whole[:-1], whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), whole + b"\0"):
        (tmp_path / "t").write_bytes(content)
        with pytest.raises(FormatError, match="truncated or edited"):
            read_tensors(tmp_path / "t", sha256)


@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 20, b"\x08" + b"\0" * 7 + b'{"a":1} '], ids=["empty", "text", "header", "fields"])
def test_files_that_never_were_safetensors(tmp_path: Path, content: bytes) -> None:
    """The hash fits, the content does not."""
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(FormatError, match="not a whole safetensors file"):
        read_tensors(tmp_path / "t", hashlib.sha256(content).hexdigest())


def test_absent_tensors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path, tmp_path / "nul\0byte"):
        with pytest.raises(FormatError, match="cannot be read"):
            read_tensors(path, "")
