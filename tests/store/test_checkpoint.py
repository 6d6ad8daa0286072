"""Checkpoints: the last whole state, whatever happened to the one after it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc.errors import FormatError
from hcdc.store import Checkpoint, Groups, StorageError


def groups(value: float = 0.0) -> Groups:
    return {"bank/0": {"x": torch.full((3,), value), "n": torch.tensor([1, 2])}, "moments": {}, "val": {"y": torch.tensor(value)}}


def equal(one: Groups, two: Groups) -> bool:
    return one.keys() == two.keys() and all(
        one[name].keys() == two[name].keys() and all(torch.equal(value, two[name][key]) for key, value in one[name].items()) for name in one
    )


def files(folder: Path) -> dict[str, int]:
    """Name -> when it was written, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}


def test_load_of_save_is_the_same(tmp_path: Path) -> None:
    saved = Checkpoint(tmp_path / "state")
    assert not saved.exists
    facts = {"identity": {"seed": 1}, "history": [{"loss": 0.5}]}
    saved.save(5, groups(), facts)
    assert saved.exists
    step, found, read = Checkpoint(tmp_path / "state").load()
    assert (step, read) == (5, facts)
    assert equal(found, groups())


def test_names_that_differ_in_a_slash_do_not_collide(tmp_path: Path) -> None:
    state: Groups = {"a/b": {"x": torch.zeros(1)}, "a-b": {"x": torch.ones(1)}, "a%2Fb": {"x": torch.full((1,), 2.0)}}
    Checkpoint(tmp_path).save(1, state, {})
    assert equal(Checkpoint(tmp_path).load()[1], state)


def test_only_what_changed_is_written_again(tmp_path: Path) -> None:
    point, state = Checkpoint(tmp_path), groups()
    point.save(1, state, {})
    before = files(tmp_path)
    point.save(2, state | {"val": {"y": torch.tensor(7.0)}}, {})
    after = files(tmp_path)
    assert {name: when for name, when in after.items() if name in before} == {n: w for n, w in before.items() if not n.startswith("val-")}
    assert set(after) - set(before) == {"val-2.safetensors"}
    assert set(before) - set(after) == {"val-1.safetensors"}, "the old state was left behind"
    step, found, _ = Checkpoint(tmp_path).load()
    assert step == 2
    assert equal(found, groups() | {"val": {"y": torch.tensor(7.0)}})


def test_what_was_loaded_is_not_written_again(tmp_path: Path) -> None:
    Checkpoint(tmp_path).save(1, groups(), {})
    before = files(tmp_path)
    resumed = Checkpoint(tmp_path)
    _, state, _ = resumed.load()
    resumed.save(2, state, {})
    assert files(tmp_path) == before
    assert Checkpoint(tmp_path).load()[0] == 2


def test_a_group_that_only_has_the_address_of_an_old_one_is_written(tmp_path: Path) -> None:
    """Python reuses the memory of a dictionary that died: identity must not be kept as a number."""
    point = Checkpoint(tmp_path)

    def save_and_forget() -> int:
        group = {"x": torch.zeros(1)}
        point.save(0, {"val": group}, {})
        return id(group)

    address = save_and_forget()
    kept: list[dict[str, Tensor]] = []
    fresh = {"x": torch.ones(1)}
    while id(fresh) != address and len(kept) < 2000:
        kept.append(fresh)
        fresh = {"x": torch.ones(1)}
    point.save(1, {"val": fresh}, {})
    assert Checkpoint(tmp_path).load()[1]["val"]["x"].item() == 1


def test_a_group_that_is_gone_is_removed(tmp_path: Path) -> None:
    point = Checkpoint(tmp_path)
    point.save(1, groups(), {})
    point.save(2, {"val": groups()["val"]}, {})
    assert list(files(tmp_path)) == ["val-2.safetensors"]
    assert Checkpoint(tmp_path).load()[1].keys() == {"val"}
    assert point._saved.keys() == {"val"}, "and its memory is given back"


@pytest.mark.parametrize("write", range(1, 5))
def test_a_crash_at_any_write_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """Three groups and the manifest are four renames; the disk fails at each in turn."""
    point = Checkpoint(tmp_path)
    point.save(1, groups(1.0), {"fact": 1})
    count, original = 0, os.replace

    def failing(source: Any, target: Any) -> None:
        nonlocal count
        count += 1
        if count == write:
            raise OSError(28, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(StorageError):
        point.save(2, groups(2.0), {"fact": 2})
    monkeypatch.undo()
    step, found, facts = Checkpoint(tmp_path).load()
    assert (step, facts) == (1, {"fact": 1})
    assert equal(found, groups(1.0))
    point.save(3, groups(3.0), {})
    assert equal(Checkpoint(tmp_path).load()[1], groups(3.0))
    assert len(files(tmp_path)) == 3, "leftovers of the crash"


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("file", ["../secret.safetensors", "/etc/passwd", "a/../val-1.safetensors", "..", "", "nul\0byte", "./val-1.safetensors"])
def test_a_manifest_may_not_name_files_elsewhere(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "state"
    Checkpoint(folder).save(1, groups(), {})
    content = manifest(folder)
    (tmp_path / "secret.safetensors").write_bytes((folder / "val-1.safetensors").read_bytes())
    content["groups"]["val"]["file"] = file
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(FormatError):
        Checkpoint(folder).load()


def test_an_escape_is_refused_for_being_one(tmp_path: Path) -> None:
    """The file outside is whole and its hash is right."""
    folder = tmp_path / "state"
    Checkpoint(folder).save(1, groups(), {})
    content = manifest(folder)
    (folder / "val-1.safetensors").rename(tmp_path / "secret.safetensors")
    content["groups"]["val"]["file"] = "../secret.safetensors"
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match="outside of its folder"):
        Checkpoint(folder).load()


MANIFESTS: dict[str, Any] = {
    "a list": [],
    "no groups": {"step": 1, "facts": {}},
    "no step": {"groups": {}, "facts": {}},
    "no facts": {"groups": {}, "step": 1},
    "step of text": {"groups": {}, "step": "one", "facts": {}},
    "infinite step": {"groups": {}, "step": float("inf"), "facts": {}},
    "facts of text": {"groups": {}, "step": 1, "facts": "text"},
    "groups of text": {"groups": "text", "step": 1, "facts": {}},
    "a group without its hash": {"groups": {"val": {"file": "val-1.safetensors"}}, "step": 1, "facts": {}},
}


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS)
def test_manifests_that_are_none(tmp_path: Path, content: Any) -> None:
    Checkpoint(tmp_path).save(1, groups(), {})
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r"manifest\.json"):
        Checkpoint(tmp_path).load()


def test_damaged_groups(tmp_path: Path) -> None:
    Checkpoint(tmp_path).save(1, groups(), {})
    path = tmp_path / "val-1.safetensors"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="truncated or edited"):
            Checkpoint(tmp_path).load()
    path.unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        Checkpoint(tmp_path).load()


def test_due_after_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point, now = Checkpoint(tmp_path, interval=1000), time.monotonic()
    monkeypatch.setattr("hcdc.store.checkpoint.time", SimpleNamespace(monotonic=lambda: now))
    assert not point.due()
    now += 1001
    assert point.due()
    point.save(1, groups(), {})
    assert not point.due()
    now += 999
    assert not point.due()
    now += 2
    assert point.due()
    assert Checkpoint(tmp_path, interval=0).due()


def test_remove(tmp_path: Path) -> None:
    point = Checkpoint(tmp_path / "state")
    point.remove()
    point.save(1, groups(), {})
    point.remove()
    assert not (tmp_path / "state").exists()
    assert not point.exists
