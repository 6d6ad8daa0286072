"""Results that cost much to make, kept by what made them, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hcdc.errors import FormatError
from hcdc.store.files import read_json, write_json


@dataclass(frozen=True)
class Ledger:
    """One JSON file a result below `folder`, named by the hash of its cause; None keeps nothing."""

    folder: Path | None

    def get(self, cause: dict[str, Any]) -> Any:
        """What was kept for `cause`, or None; a file that is damaged or made for another cause counts as absent."""
        if self.folder is None or not self._path(cause).is_file():
            return None
        try:
            entry = read_json(self._path(cause))
        except FormatError:
            return None
        same = isinstance(entry, dict) and entry.get("cause") == json.loads(json.dumps(cause))
        return entry.get("result") if same else None

    def put(self, cause: dict[str, Any], result: Any) -> None:
        if self.folder is not None:
            write_json(self._path(cause), {"cause": cause, "result": result})

    def kept(self, cause: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was kept for `cause`, else what `make` returns, which is kept from now on."""
        known = self.get(cause)
        if known is None:
            self.put(cause, known := make())
        return known

    def _path(self, cause: dict[str, Any]) -> Path:
        assert self.folder is not None
        return self.folder / f"{named_by(cause)}.json"


def named_by(cause: dict[str, Any]) -> str:
    """The name, without an ending, of the file that holds what `cause` made."""
    return hashlib.sha256(json.dumps(cause, sort_keys=True).encode()).hexdigest()[:24]
