"""Every searcher spends its trials, stays in the space, and is reproducible."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from hcdc.bilevel import WORST, Adam, Recipe, bounded
from hcdc.errors import SpaceError
from hcdc.models import ModuleProblem
from hcdc.search import ALGORITHMS, Grid, HypergradientDescent, Objective, Trial, ranked
from hcdc.spaces import Choice, Real, Space
from hcdc.store import Ledger
from hcdc.testing import check_searcher
from tests import small

CHOOSING = ("darts", "darts-pt")
"""The algorithms that want a space with choices."""


def objective(splits=None) -> Objective:
    task = small.task(splits)
    return Objective(task.condensed, task.space, task.real.train, task.real.val)


def searchable(name) -> Objective:
    """Numbers alone where `name` can search them, else choices and a number."""
    return objective(small.images() if name in CHOOSING else None)


def test_a_descent_in_pieces_is_the_same_descent(monkeypatch):
    goal = objective()
    whole = HypergradientDescent(starts=4).run(goal, trials=10, seed=0)
    monkeypatch.setattr("hcdc.search.hypergradient.together", lambda problem, data, count: [slice(at, at + 3) for at in range(0, count, 3)])
    parts = HypergradientDescent(starts=4).run(goal, trials=10, seed=0)
    assert [trial.score for trial in parts] == pytest.approx([trial.score for trial in whole], rel=1e-4)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("trials", [1, 5, 9])
def test_trials_are_spent_inside_the_space(name, trials):
    goal = searchable(name)
    found = ALGORITHMS[name].run(goal, trials=trials, seed=0)
    assert 1 <= len(found) <= trials
    assert name == "grid" or len(found) == trials
    for trial in found:
        goal.space.check(trial.config)
        assert trial.seconds > 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_conformance(name):
    check_searcher(ALGORITHMS[name], searchable(name))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_choices_and_numbers_together(name):
    found = ALGORITHMS[name].run(objective(small.images()), trials=4, seed=0)
    assert {trial.config["op.0"] for trial in found} <= {"conv3x3", "conv1x1", "pool3x3", "skip"}


@pytest.mark.parametrize("name", CHOOSING)
def test_a_space_without_choices_is_refused(name):
    with pytest.raises(SpaceError, match=r"^`space` = \['filter.0', .*weighs the options of choices.*; take hypergradient"):
        ALGORITHMS[name].run(objective(), trials=2, seed=0)


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_ends_in_nan_is_the_worst():
    goal = objective()
    broken = dataclasses.replace(goal, val=goal.val.replace(x=torch.full_like(goal.val.x, float("nan"))))
    assert [trial.score for trial in ALGORITHMS["random"].run(broken, trials=3, seed=0)] == pytest.approx([WORST] * 3)


def test_no_score_is_worse_than_that_of_no_number():
    assert bounded(torch.tensor([0.5, float("nan"), 1e35, float("inf")])).tolist() == pytest.approx([0.5, WORST, WORST, WORST])


def test_hypergradient_descent_improves_on_its_starts():
    found = HypergradientDescent(starts=4, rate=0.3).run(objective(), trials=40, seed=1)
    starts, last = [trial.score for trial in found[:4]], [trial.score for trial in found[-4:]]
    assert sum(last) < sum(starts)


@pytest.mark.parametrize(("trials", "points"), [(9, 3), (10, 3), (16, 4), (4, 2), (3, 2)])
def test_the_grid_is_the_finest_that_fits(trials, points):
    class Count:
        space = Space({"a": Real(0, 1), "b": Real(0, 1)})

        def trials(self, configs, seed, kept):
            return tuple(configs)

    assert len(Grid().run(Count(), trials=trials, seed=0)) == min(points**2, trials)


def test_a_grid_of_choices_alone_ends():
    class Count:
        space = Space({"a": Choice(("x", "y", "z"))})

        def trials(self, configs, seed, kept):
            return tuple(configs)

    assert len(Grid().run(Count(), trials=50, seed=0)) == 3


def bits(found):
    return [(trial.config, trial.score) for trial in found]


@pytest.mark.parametrize("splits", [small.graph, small.images])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_interrupted_search_goes_on_to_the_same_bits(name, splits, tmp_path, monkeypatch):
    """Whichever result it was interrupted after, and without training again what was finished."""
    monkeypatch.setattr("hcdc.bilevel.problem.TOGETHER", 4)
    if splits is small.graph and name in CHOOSING:
        pytest.skip("no choice among these axes")
    goal, made = objective(splits()), []
    put = Ledger.put

    def counted(self, cause, result):
        put(self, cause, result)
        made.append(result)
        if len(made) == stop:
            raise small.Killed

    monkeypatch.setattr(Ledger, "put", counted)
    stop = None
    whole = ALGORITHMS[name].run(goal, trials=12, seed=2, checkpoint=tmp_path / "whole")
    total = len(made)
    assert total >= 2
    for stop in {1, total - 1}:
        made.clear()
        with pytest.raises(small.Killed):
            ALGORITHMS[name].run(goal, trials=12, seed=2, checkpoint=tmp_path / f"broken{stop}")
        resumed = ALGORITHMS[name].run(goal, trials=12, seed=2, checkpoint=tmp_path / f"broken{stop}")
        assert bits(resumed) == bits(whole)
        assert len(made) == total
    assert bits(ALGORITHMS[name].run(goal, trials=12, seed=2)) == bits(whole)


def test_what_was_kept_for_other_data_or_another_space_is_not_taken(tmp_path):
    goal = objective()
    ALGORITHMS["random"].run(goal, trials=2, seed=0, checkpoint=tmp_path)
    others = [dataclasses.replace(goal, val=goal.train), dataclasses.replace(goal, space=Space({name: Real(-2, 2) for name in goal.space.axes}))]
    for other in others:
        before = len(list(tmp_path.iterdir()))
        assert bits(ALGORITHMS["random"].run(other, trials=2, seed=0, checkpoint=tmp_path)) == bits(ALGORITHMS["random"].run(other, trials=2, seed=0))
        assert len(list(tmp_path.iterdir())) == before + 1


def test_what_was_kept_for_a_model_of_other_code_is_not_taken(tmp_path):
    """Two versions of a class have one name and one repr."""

    def version(factor: float):
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(16, 3)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return factor * self.layer(x.flatten(1))

        space = Space({"log10_decay": Real(-4.0, 0.0)})
        return Objective(Recipe(ModuleProblem(Net, space, 3), Adam(3, 0.1)), space, *small.images().real)

    first, second = version(1.0), version(-30.0)
    assert repr(first.recipe) == repr(second.recipe)
    kept = [bits(ALGORITHMS["random"].run(goal, trials=2, seed=0, checkpoint=tmp_path)) for goal in (first, second, first)]
    assert kept == [bits(ALGORITHMS["random"].run(goal, trials=2, seed=0)) for goal in (first, second, first)]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_hypergradient_that_is_not_finite_leaves_a_trajectory_where_it_is(monkeypatch):
    goal = objective()
    monkeypatch.setattr(Objective, "slopes", lambda self, params, hyper: torch.full((len(hyper["filter"]), 3), float("nan")))
    found = HypergradientDescent(starts=2).run(goal, trials=4, seed=0)
    assert bits(found[:2]) == bits(found[2:])


def test_a_pruned_trial_ranks_after_all_that_were_not():
    trials = [Trial({"a": 1.0}, 0.1, 1.0, True), Trial({"a": 2.0}, 0.9, 1.0), Trial({"a": 3.0}, 0.5, 1.0)]
    assert [trial.score for trial in ranked(trials)] == [0.5, 0.9, 0.1]


def test_a_grid_too_large_to_be_built_is_drawn_from_over_all_of_it():
    space = Space({f"x{number}": Real(0, 1) for number in range(60)})
    found = Grid().run(Tabled(space), trials=20, seed=0)
    configs = [trial.config for trial in found]
    assert len({str(config) for config in configs}) == 20
    assert all(len({config[name] for config in configs}) == 2 for name in space.axes)


class Tabled:
    """Configurations that are not trained."""

    def __init__(self, space):
        self.space = space

    def trials(self, configs, seed, kept):
        return tuple(Trial(dict(config), 0.0, 1.0) for config in configs)
