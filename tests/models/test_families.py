"""Families by name: fitted to data, written to a card and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from hcdc.errors import FormatError, InputError
from hcdc.models import FAMILIES, ConvMix, PolyFilter, problem_for, problem_from_card, problem_to_card
from tests.cases import dense_graph, generator, random_images


def test_the_family_fits_the_sizes_of_the_data() -> None:
    graph, images = dense_graph(), random_images()
    poly, conv = problem_for(graph, order=2, hidden=7), problem_for(images, width=5)
    assert poly == PolyFilter(3, num_features=5, hidden=7, order=2, dropout=0.5)
    assert conv == ConvMix(3, shape=(1, 8, 8), width=5)
    assert problem_for(graph, "polyfilter", dropout=0.1).dropout == 0.1
    for problem, data in ((poly, graph), (conv, random_images(dtype=torch.float32))):
        hyper = problem.space().relax(problem.space().sample(generator(0)))
        assert torch.isfinite(problem.inner(problem.init(hyper, generator(0)), hyper, data))


@pytest.mark.parametrize(("data", "family"), [(dense_graph(), "convmix"), (random_images(), "polyfilter"), (dense_graph(), "gat")])
def test_a_family_for_other_data_is_refused(data: Any, family: str) -> None:
    with pytest.raises(InputError, match=family):
        problem_for(data, family)


PROBLEMS = [
    PolyFilter(7, num_features=1433, order=0, basis="chebyshev", criterion="soft-accuracy"),
    ConvMix(10, shape=(3, 32, 32), blocks=3, dropout=0.2),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_card_round_trip(problem: Any) -> None:
    card = json.loads(json.dumps(problem_to_card(problem)))
    assert problem_from_card(card) == problem
    assert hash(problem_from_card(card)) == hash(problem)
    assert card == json.loads(json.dumps(problem_to_card(problem))), "the card was changed by reading"


@pytest.mark.parametrize("change", [{"family": "gat"}, {"depth": 3}, {"order": -1}, {"criterion": "accuracy"}, {"family": None}], ids=str)
def test_cards_of_no_problem(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="field `problem`"):
        problem_from_card(problem_to_card(PROBLEMS[0]) | change)


def test_a_card_without_its_family() -> None:
    with pytest.raises(FormatError, match="family"):
        problem_from_card({"num_classes": 3})


def test_every_family_has_a_name() -> None:
    assert {type(problem) for problem in PROBLEMS} == set(FAMILIES.values())
