"""Checkpoints of a running condenser: groups of tensors, each rewritten only when it changed."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torch import Tensor

from hcdc.errors import FormatError
from hcdc.store.files import read_json, read_tensors, sweep, write_json, write_tensors

Groups = dict[str, dict[str, Tensor]]


@dataclass
class Checkpoint:
    """The last whole state of a run below `folder`, saved at most every `interval` seconds.

    A state is a step number and named groups of tensors. A group that is the very object saved last is not written
    again, so that large parts that never change cost one write; the groups saved last are kept in memory for that.
    `manifest.json` is renamed into place last; files that it does not name are leftovers of a crash.
    """

    folder: Path
    interval: float = 10.0
    _saved: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = field(default_factory=lambda: {})
    _last: float = field(default_factory=time.monotonic)

    @property
    def exists(self) -> bool:
        return (self.folder / "manifest.json").is_file()

    def due(self) -> bool:
        return time.monotonic() - self._last >= self.interval

    def save(self, step: int, groups: Groups, facts: dict[str, Any]) -> None:
        """Make (step, groups, facts) the state to resume from; `facts` is any JSON."""
        entries: dict[str, dict[str, Any]] = {}
        for name, tensors in groups.items():
            known = self._saved.get(name)
            if known is not None and known[0] is tensors:
                entries[name] = known[1]
                continue
            file = f"{quote(name, safe='')}-{step}.safetensors"
            entries[name] = {"file": file, "sha256": write_tensors(self.folder / file, tensors), "keys": list(tensors)}
            self._saved[name] = (tensors, entries[name])
        write_json(self.folder / "manifest.json", {"step": step, "facts": facts, "groups": entries})
        for name in self._saved.keys() - groups.keys():
            del self._saved[name]
        kept = {entry["file"] for entry in entries.values()}
        for path in self.folder.glob("*.safetensors"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        sweep(self.folder)
        self._last = time.monotonic()

    def load(self) -> tuple[int, Groups, dict[str, Any]]:
        """The saved (step, groups, facts); `FormatError` for a manifest or group that is not whole."""
        path = self.folder / "manifest.json"
        manifest = read_json(path)
        try:
            entries = {name: _entry(entry) for name, entry in manifest["groups"].items()}
            step, facts = int(manifest["step"]), dict(manifest["facts"])
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise FormatError(f"{path} lacks or misspells {error}; remove the folder to start again") from error
        groups: Groups = {}
        for name, entry in entries.items():
            if Path(entry["file"]).name != entry["file"]:
                raise FormatError(f"{path} names a file outside of its folder: {entry['file']!r}")
            found = read_tensors(self.folder / entry["file"], entry["sha256"])
            if sorted(found) != sorted(entry["keys"]):
                raise FormatError(f"{path}: `keys` of {name!r} are not those of {entry['file']}; the manifest was edited")
            groups[name] = {key: found[key] for key in entry["keys"]}
            self._saved[name] = (groups[name], entry)
        return step, groups, facts

    def remove(self) -> None:
        """Delete the checkpoint: the run is done."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)


def _entry(entry: Any) -> dict[str, Any]:
    """One group of a manifest. Files come back with their keys sorted; `keys` is the order that sums were taken in."""
    return {"file": str(entry["file"]), "sha256": str(entry["sha256"]), "keys": [str(key) for key in entry["keys"]]}
