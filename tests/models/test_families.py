"""Families by name: fitted to data, written to a card and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from hcdc.data import load
from hcdc.errors import FormatError, InputError
from hcdc.models import (
    FAMILIES,
    Appnp,
    ConvMix,
    ConvNet,
    GraphNasNet,
    Heat,
    Logistic,
    Mlp,
    NasBench201,
    PolyFilter,
    Ppr,
    Sign,
    problem_for,
    problem_from_card,
    problem_to_card,
)
from hcdc.models.families import GRAPH_FAMILIES
from tests.cases import dense_graph, generator, random_images


def test_the_family_fits_the_sizes_of_the_data() -> None:
    graph, images = dense_graph(), random_images()
    poly, conv = problem_for(graph, order=2, hidden=7), problem_for(images, width=5)
    nas = problem_for(images, "nasbench201", channels=3)
    assert nas == NasBench201(3, shape=(1, 8, 8), channels=3)
    assert poly == PolyFilter(3, num_features=5, hidden=7, order=2, dropout=0.5)
    assert conv == ConvMix(3, shape=(1, 8, 8), width=5)
    assert problem_for(graph, "polyfilter", dropout=0.1).dropout == 0.1
    for problem, data in ((poly, graph), (conv, random_images(dtype=torch.float32)), (nas, random_images(dtype=torch.float32))):
        hyper = problem.space().relax(problem.space().sample(generator(0)))
        assert torch.isfinite(problem.inner(problem.init(hyper, generator(0)), hyper, data))


@pytest.mark.parametrize(
    ("data", "family"), [(dense_graph(), "convmix"), (dense_graph(), "convnet"), (random_images(), "polyfilter"), (dense_graph(), "gat")]
)
def test_a_family_for_other_data_is_refused(data: Any, family: str) -> None:
    with pytest.raises(InputError, match=family):
        problem_for(data, family)


@pytest.mark.parametrize("family", GRAPH_FAMILIES)
@pytest.mark.parametrize("regularisers", [(), ("decay", "edge_drop", "smoothing")], ids=["plain", "regularised"])
def test_every_graph_family_fits_a_graph(family: str, regularisers: tuple[str, ...]) -> None:
    graph = dense_graph()
    problem: Any = problem_for(graph, family, regularisers=regularisers)
    space = problem.space()
    assert len(space.axes) == len(problem.axes()) + 4 * bool(regularisers)
    hyper = space.interior(generator(0))
    params = problem.init(hyper, generator(0))
    for loss in (problem.inner, problem.outer):
        assert torch.isfinite(loss(params, hyper, graph))
    assert torch.isfinite(problem.noisy(params, hyper, graph, problem.noise(graph, generator(1))))


@pytest.mark.parametrize(("family", "setting"), [("appnp", {"order": 2}), ("ppr", {"basis": "laplacian"}), ("polyfilter", {"num_features": 9})])
def test_a_setting_of_another_family_is_refused(family: str, setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(InputError, match=f"^`{name}` = .* is no setting of {family}, which has .*; leave it out"):
        problem_for(dense_graph(), family, **setting)


def test_the_second_family_of_images_is_taken_by_name() -> None:
    assert problem_for(random_images(), "convnet", width=8, searched=("kernel",)) == ConvNet(3, shape=(1, 8, 8), width=8, searched=("kernel",))


def test_images_have_no_regularisers_to_search() -> None:
    with pytest.raises(InputError, match=r"^`regularisers` = .* is no setting of convmix"):
        problem_for(random_images(), regularisers=("decay",))


def test_a_card_without_regularisers_is_what_it_was_before_there_were_any() -> None:
    """What is kept under the hash of an older card is found again."""
    card = problem_to_card(PolyFilter(3))
    assert set(card) == {"family", "num_classes", "weight_decay", "dropout", "criterion", "num_features", "hidden", "order", "basis"}


PROBLEMS = [
    PolyFilter(7, num_features=1433, order=0, basis="chebyshev", criterion="soft-accuracy"),
    ConvMix(10, shape=(3, 32, 32), blocks=3, dropout=0.2),
    NasBench201(10, shape=(3, 32, 32), cells=5, norm="instance", regularisers=("smoothing",)),
    ConvNet(10, shape=(3, 32, 32), searched=("depth", "augment"), operations=("crop",)),
    PolyFilter(7, num_features=9, basis="bernstein", regularisers=("smoothing", "decay")),
    Ppr(7, num_features=9, order=4, regularisers=("edge_drop",)),
    Heat(7, num_features=9),
    Sign(7, num_features=9, hidden=3),
    Appnp(7, num_features=9, steps=(1, 3), widths=(2, 5), alphas=(0.1, 0.3), activations=("elu", "tanh"), regularisers=("decay",)),
    GraphNasNet(7, num_features=9, attentions=("gat", "const"), activations=("tanh", "elu"), heads=(1, 2), widths=(4, 8), regularisers=("decay",)),
    Logistic(0, columns=(1, 3)),
    Mlp(3, columns=(1, 1), hidden=(2, 5), activations=("tanh", "relu")),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_card_round_trip(problem: Any) -> None:
    card = json.loads(json.dumps(problem_to_card(problem)))
    assert problem_from_card(card) == problem
    assert hash(problem_from_card(card)) == hash(problem)
    assert card == json.loads(json.dumps(problem_to_card(problem))), "the card was changed by reading"


@pytest.mark.parametrize(
    "change", [{"family": "gat"}, {"depth": 3}, {"order": -1}, {"criterion": "accuracy"}, {"family": None}, {"regularisers": ["l1"]}], ids=str
)
def test_cards_of_no_problem(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="field `problem"):
        problem_from_card(problem_to_card(PROBLEMS[0]) | change)


def test_a_card_without_its_family() -> None:
    with pytest.raises(FormatError, match="family"):
        problem_from_card({"num_classes": 3})


def test_every_family_has_a_name() -> None:
    assert {type(problem) for problem in PROBLEMS} == set(FAMILIES.values())


@pytest.mark.parametrize(
    ("family", "data"), [("convmix", random_images()), ("logistic", load("wine").splits.train), ("mlp", load("wine").splits.train)]
)
def test_a_fixed_decay_is_refused_where_it_would_enter_nothing(family: str, data: Any) -> None:
    with pytest.raises(InputError, match=rf"`weight_decay` = 0\.1: enters no loss of {family}, which searches its decay"):
        problem_for(data, family, weight_decay=0.1)
