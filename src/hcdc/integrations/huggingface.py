"""An artefact's card as the Hugging Face Hub reads it: a README.md in Markdown, below a head of YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from hcdc.store import CARD, TENSORS, Card

TASKS = {"graph": "graph-ml", "images": "image-classification", "table": "tabular-classification"}
"""The Hub's word for classification, for each kind of data that it has a word for."""

SIZES = {"n<1K": 1_000, "1K<n<10K": 10_000, "10K<n<100K": 100_000, "100K<n<1M": 1_000_000}


def dataset_card(card: Card, judged: Mapping[str, Any] | None = None) -> str:
    """README.md of the artefact that `card` describes; `judged` are the facts of its evaluation, where there is one.

    Of the data's name only the last part is told, where it is a path. No licence is named: that of the data holds.
    """
    name, unit = PurePath(card.data.name).name.replace("`", "'"), card.data.unit
    train, val = card.sizes["train"], card.sizes["val"]
    head = {
        "pretty_name": f"{name}, condensed by hcdc",
        "tags": ["hcdc", "dataset-condensation", "hyperparameter-search", "synthetic"],
        "task_categories": _tasks(card),
        "size_categories": [next((words for words, limit in SIZES.items() if train + val < limit), "n>1M")],
    }
    return "\n".join(
        (
            "---",
            *(f"{key}: {json.dumps(value)}" for key, value in head.items() if value),
            "---",
            "",
            f"# `{name}`, condensed",
            "",
            f"{train} synthetic {unit} to train on and {val} to validate on, made from `{name}` by `hcdc` so that configurations "
            f"of `{card.recipes['condensed']['problem']['family']}` rank on them as on the original data. "
            "They are for choosing hyperparameters: train the choice on the original data.",
            "",
            "## How far to trust it",
            "",
            *_trust(judged),
            "",
            "## How to use it",
            "",
            "```python",
            "import hcdc",
            "",
            'condensed = hcdc.load_condensed(".")  # the folder of this file',
            "train, val, space = condensed.train, condensed.val, condensed.space",
            "```",
            "",
            f"`{TENSORS}` holds the tensors, `{CARD}` all that it takes to make them again.",
            "",
            *_made(card),
            "",
        )
    )


def _tasks(card: Card) -> list[str]:
    if not card.data.num_classes:
        return ["tabular-regression"] if card.data.kind == "table" else []
    return [TASKS[card.data.kind]] if card.data.kind in TASKS else []


def _trust(judged: Mapping[str, Any] | None) -> list[str]:
    """The verdict and its correlations."""
    if judged is None:
        return ["It has not been judged yet: `hcdc evaluate` compares its ranking with that of the original data."]
    names = {"this set": "spearman_loss", "at best (original data, another seed)": "ceiling_loss", "for nothing (real examples)": "floor_strong_loss"}
    rows = [f"| {name} | {judged[key]:.2f} |" for name, key in names.items() if judged.get(key) is not None]
    head = f"Spearman's correlation of {judged['configs']} configurations by loss, {judged['seeds']} trainings each, with the original data:"
    return [f"**{str(judged['verdict']).capitalize()}.** {judged['sentence']}", "", head, "", "| ranking by | |", "|---|---|", *rows]


def _made(card: Card) -> list[str]:
    rows = {
        "method": card.method,
        "seed": card.seed,
        "space": ", ".join(card.space),
        "seconds": f"{card.seconds:.1f}, on {card.hardware}",
        "versions": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
        "SHA-256 of the original data": card.data.sha256,
    }
    return ["| made by | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
