"""Every searcher spends its trials, stays in the space, and is reproducible."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from hcdc.search import ALGORITHMS, Grid, HypergradientDescent, Objective
from hcdc.search.base import WORST
from hcdc.spaces import Choice, Real, Space
from hcdc.testing import check_searcher
from tests import small


def objective(splits=None) -> Objective:
    task = small.task(splits)
    return Objective(task.condensed, task.space, task.real.train, task.real.val)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("trials", [1, 5, 9])
def test_trials_are_spent_inside_the_space(name, trials):
    goal = objective()
    found = ALGORITHMS[name].run(goal, trials=trials, seed=0)
    assert 1 <= len(found) <= trials
    assert name == "grid" or len(found) == trials
    for trial in found:
        goal.space.check(trial.config)
        assert trial.seconds > 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_conformance(name):
    check_searcher(ALGORITHMS[name], objective())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_choices_and_numbers_together(name):
    found = ALGORITHMS[name].run(objective(small.images()), trials=4, seed=0)
    assert {trial.config["op.0"] for trial in found} <= {"conv3x3", "conv1x1", "pool3x3", "skip"}


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_ends_in_nan_is_the_worst():
    goal = objective()
    broken = dataclasses.replace(goal, val=goal.val.replace(x=torch.full_like(goal.val.x, float("nan"))))
    assert [trial.score for trial in ALGORITHMS["random"].run(broken, trials=3, seed=0)] == pytest.approx([WORST] * 3)


def test_hypergradient_descent_improves_on_its_starts():
    found = HypergradientDescent(starts=4, rate=0.3).run(objective(), trials=40, seed=1)
    starts, last = [trial.score for trial in found[:4]], [trial.score for trial in found[-4:]]
    assert sum(last) < sum(starts)


@pytest.mark.parametrize(("trials", "points"), [(9, 3), (10, 3), (16, 4), (4, 2), (3, 2)])
def test_the_grid_is_the_finest_that_fits(trials, points):
    class Count:
        space = Space({"a": Real(0, 1), "b": Real(0, 1)})

        def trials(self, configs, seed):
            return tuple(configs)

    assert len(Grid().run(Count(), trials=trials, seed=0)) == min(points**2, trials)


def test_a_grid_of_choices_alone_ends():
    class Count:
        space = Space({"a": Choice(("x", "y", "z"))})

        def trials(self, configs, seed):
            return tuple(configs)

    assert len(Grid().run(Count(), trials=50, seed=0)) == 3
