"""Artefacts of every format that was ever written, kept as they are: they load for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hcdc.bilevel import Recipe
from hcdc.condense import recipes_of
from hcdc.data import GraphData, ImageData
from hcdc.search import Objective
from hcdc.store import load_condensed

FIXTURES = Path(__file__).parent.parent / "fixtures"
KNOWN: dict[str, tuple[type[Any], str, int]] = {
    "format-1/graph": (GraphData, "2b49e06c6e43ecf4227596301f784991ebf392550cc2059586d1842c7fd627cc", 3),
    "format-1/images": (ImageData, "6c6d7b685928be1a2a185671aba440cc2eabb43ddd7e2637d5b6292738da09f3", 2),
}
"""The kind of data, the SHA-256 of its tensors, and the number of axes of the space."""


@pytest.mark.parametrize("name", KNOWN)
def test_an_old_artefact_loads_and_is_searched(name: str) -> None:
    kind, fingerprint, axes = KNOWN[name]
    found = load_condensed(FIXTURES / name)
    assert isinstance(found.train, kind)
    assert found.fingerprint() == fingerprint
    assert (found.card.format, len(found.space.axes)) == (1, axes)
    recipe: Recipe = recipes_of(found)["condensed"]
    trials = Objective(recipe, found.space, found.train, found.val).trials(found.space.configs(2, 0), 0)
    assert all(0 < trial.score < 100 for trial in trials)


def test_every_fixture_is_known() -> None:
    assert {str(path.parent.relative_to(FIXTURES)) for path in FIXTURES.glob("*/*/card.json")} == set(KNOWN)
