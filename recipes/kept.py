"""What the recipes share: where a row's artefact goes, figures that are measured once, a row of them, and
condensers for digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hcdc.condense import ImageCondenser


def slug(*parts: object) -> str:
    """A folder's name: letters and digits of the parts, all else a dash."""
    return "-".join("".join(letter if letter.isalnum() else "-" for letter in str(part)) for part in parts)


def for_digits(method: ImageCondenser, **settings: Any) -> ImageCondenser:
    """`method` for training images alone, without "flip", which changes a digit."""
    kept = tuple(operation for operation in method.augmentation if operation != "flip")
    return replace(method, both=False, augmentation=kept, **settings)


def figures(path: Path, measure: Callable[[], Any]) -> Any:
    """What `path` holds, measured and written first where there is nothing."""
    if not path.exists():
        found = json.dumps(measure())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found)
    return json.loads(path.read_text())


COLUMNS = {
    "spearman_loss": "loss", "ceiling_loss": "its ceiling", "spearman_top_half_loss": "better half, loss", "spearman_accuracy": "against accuracy",
    "ceiling_accuracy": "its ceiling", "floor_strong_loss": "strong floor, loss", "floor_random_loss": "random, loss", "regret_top1": "regret",
    "best_test_accuracy": "best accuracy", "seconds_condense": "condense, s",
}  # fmt: skip
"""What a `Judge` says of one condensation, by the name of the fact."""


def head(first: str) -> str:
    """The head of a Markdown table whose first column is `first`."""
    return f"| {first} | " + " | ".join(COLUMNS.values()) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|"


def row(name: str, facts: dict[str, Any]) -> str:
    """A row of it."""
    cells = ["none" if facts[key] is None else f"{facts[key]:.0f}" if key.startswith("seconds") else f"{facts[key]:.3f}" for key in COLUMNS]
    return f"| {name} | " + " | ".join(cells) + " |"
