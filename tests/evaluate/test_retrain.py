"""Configurations of NAS-Bench-201, which are trained and judged as cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from hcdc.bilevel import SGD, WORST, Recipe
from hcdc.condense import Budget, Coreset, Task, condense
from hcdc.data import Examples, Source
from hcdc.errors import SpaceError
from hcdc.evaluate import CellTrainer, Judge, Probe, align, probes as probing, retrain
from hcdc.evaluate.retrain import measure
from hcdc.models import ModuleProblem, NasBench201
from hcdc.spaces import Cell, Real, Space
from hcdc.store import Condensed, DataCard
from tests import small

FAMILY = NasBench201(3, shape=(1, 4, 4), channels=2, activation="softplus", criterion="soft-accuracy")
RECIPE = Recipe(FAMILY, SGD(3, 0.1, batch_size=10))
CONFIGS = FAMILY.space().configs(3, 0)


@pytest.fixture(scope="module")
def source() -> Source:
    return small.source(small.images())


@pytest.fixture(scope="module")
def condensed(source: Source) -> Condensed:
    task = Task(RECIPE, RECIPE, source.splits.real, FAMILY.space(), Budget(9, 9))
    return condense(Coreset(label="images"), task, DataCard.of(source.name, source.sha256, source.kind, source.splits.train))


def test_configurations_are_trained_as_their_cells(source: Source) -> None:
    train, judged_on = source.splits.train, {"val": source.splits.val, "test": source.splits.test}
    found = retrain(RECIPE, FAMILY.space().relax_all(CONFIGS), train, judged_on, seed=4)
    expected = CellTrainer(FAMILY, RECIPE.solver, bf16=True)([Cell.of(config) for config in CONFIGS], train, judged_on, seed=4)
    for metric in ("loss", "accuracy", "criterion"):
        for name in judged_on:
            assert torch.equal(getattr(found, metric)[name], getattr(expected, metric)[name])
    assert not torch.equal(found.criterion["val"], found.loss["val"])


def test_further_hyperparameters_reach_the_training(source: Source) -> None:
    family = replace(FAMILY, regularisers=("decay",))
    one = {"op": Cell.of(CONFIGS[0]).weights()}
    hyper = {name: torch.stack([value, value]) for name, value in one.items()} | {"log10_decay": torch.tensor([[-5.0], [0.5]])}
    loss = retrain(Recipe(family, RECIPE.solver), hyper, source.splits.train, {"val": source.splits.val}, seed=0).loss["val"][0]
    assert float(loss[0]) != float(loss[1])


def test_a_regression_that_diverged_is_the_worst_by_every_metric() -> None:
    """And by none that JSON could not hold."""
    problem = ModuleProblem(lambda: nn.Linear(2, 1), Space({"log10_decay": Real(-4.0, 0.0)}), 0)
    params = {"weight": torch.tensor([[[1.0, 1.0]], [[1e25, 0.0]], [[float("nan"), 0.0]]]), "bias": torch.zeros(3, 1)}
    data = Examples(torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 20), 0)
    found = measure(problem, params, {"log10_decay": torch.zeros(3, 1)}, data)
    for name in ("loss", "criterion"):
        assert found[name].tolist()[1:] == pytest.approx([WORST, WORST])
    assert found["accuracy"].tolist()[1:] == pytest.approx([-WORST, -WORST])
    assert max(float(found[name][0].abs()) for name in found) < 1e6


def test_soft_weights_are_refused(source: Source) -> None:
    with pytest.raises(SpaceError, match="must be one-hot"):
        retrain(RECIPE, {"op": torch.full((1, 6, 5), 0.2)}, source.splits.train, {"val": source.splits.val}, seed=0)


def test_the_soft_forward_is_never_taken(condensed: Condensed, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what an evaluation does: its operations on all validation images would need a hundred GiB."""

    def forbidden(*_: Any) -> None:
        raise AssertionError("all operations of a cell were computed")

    monkeypatch.setattr(NasBench201, "plan", forbidden)
    facts = Judge(configs=4, seeds=1)(condensed, source).facts
    assert facts["floor_strong_loss"] is not None
    probe = Probe(configs=6, seeds=2)
    assert probe(condensed, source).card.probe is not None
    assert probe.cost(condensed, source) > 0
    assert align(condensed, source, points=3).after.abs().max() <= 1 + 1e-6


def test_the_cost_of_probes_is_that_of_one_cell_multiplied(condensed: Condensed, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[int]()
    monkeypatch.setattr(probing, "timed", lambda action: (calls.append(1), 1.0)[1])
    assert Probe(configs=6, seeds=2).cost(condensed, source) == pytest.approx(6 * (3 + 2 * 2 + 2) * 2.0)
    assert len(calls) == 4
