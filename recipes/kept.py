"""What the recipes share: where a row's artefact goes, and figures that are measured once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def slug(*parts: object) -> str:
    """A folder's name: letters and digits of the parts, all else a dash."""
    return "-".join("".join(letter if letter.isalnum() else "-" for letter in str(part)) for part in parts)


def figures(path: Path, measure: Callable[[], Any]) -> Any:
    """What `path` holds, measured and written first where there is nothing."""
    if not path.exists():
        found = json.dumps(measure())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found)
    return json.loads(path.read_text())
