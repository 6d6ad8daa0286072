"""A pilot takes the S_train and the length of training that rank as the full data does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hcdc.bilevel import SGD, Adam
from hcdc.condense import CENTROIDS, HCDC, Budget, Coreset, Pilot
from hcdc.condense.pilot import LENGTHS, within
from hcdc.errors import InputError
from tests import small

WHOLE = Coreset(label="whole")
"""As many examples as there are: the real data in another order."""


def piloted(pilot, **changes):
    """On a task whose S_train is as large as the real data, and trained as that is."""
    task = small.task(small.images(), **changes)
    solver = Adam(16, 0.05)
    same = task.condensed._replace(solver=solver)
    budget = Budget(task.real.train.size, task.budget.val)
    return pilot(small.replace(task, condensed=same, full=same, budget=budget), HCDC())


def test_the_real_data_rank_as_the_real_data():
    chosen = piloted(Pilot(8, (CENTROIDS, WHOLE), lengths=False))
    assert [(each.train, each.steps) for each in chosen.tried] == [("centroids", 16), ("whole", 16)]
    assert chosen.tried[1].spearman == pytest.approx(1)
    assert chosen.tried[0].spearman < 0.98
    assert chosen.method.train == WHOLE
    assert chosen.task.condensed.solver == Adam(16, 0.05)


def test_the_longest_of_the_best_trainings_is_taken():
    chosen = piloted(Pilot(8, ()))
    lengths = {each.steps: each.spearman for each in chosen.tried}
    assert list(lengths) == [2 * length for length in LENGTHS]
    best = max(lengths.values())
    assert chosen.task.condensed.solver.steps == max(steps for steps, value in lengths.items() if value >= within(best, 8))
    assert chosen.method.train == HCDC().train
    assert chosen.tried == piloted(Pilot(8, ())).tried


def test_an_s_train_that_is_learned_is_learned_first():
    """After other steps it is another set, which ranks otherwise."""
    learned = replace(small.METHODS["dm"], steps=30, lr=50.0)
    begun, ended = (piloted(Pilot(8, (maker,))) for maker in (replace(learned, steps=1), learned))
    assert [each.spearman for each in begun.tried] != [each.spearman for each in ended.tried]


def test_a_standard_error_below():
    assert within(0.0, 12) == pytest.approx(-math.tanh(1 / 3))
    assert within(0.7, 7) < within(0.7, 103) < 0.7
    assert -1 < within(-1.0, 4) < within(1.0, 4) < 1


def test_a_ranking_needs_four():
    with pytest.raises(InputError, match="`pilot` = 3"):
        Pilot(3)


def test_models_that_diverge_are_ranked_by_nothing():
    """Their losses are all infinite, and the order in which they were drawn is not a ranking."""
    task = small.task(small.images())
    broken = task.condensed._replace(solver=Adam(8, 1e30))
    chosen = Pilot(8, (), lengths=False)(small.replace(task, condensed=broken, full=task.full), HCDC())
    assert chosen.tried[0].spearman == 0


def test_no_training_is_longer_than_the_task_s():
    task = small.task(small.images())
    short = small.replace(task, condensed=task.condensed._replace(solver=Adam(3, 0.05)))
    assert Pilot(8).tries(short) == [1, 2]


def test_a_falling_rate_is_that_of_a_training_of_the_length_tried():
    """A piece of a longer training has another rate at every step."""
    task = small.task(small.images())
    task = small.replace(task, condensed=task.condensed._replace(solver=SGD(8, 0.1, batch_size=None)))
    tried = {each.steps: each.spearman for each in Pilot(8, ())(task, HCDC()).tried}
    for steps, spearman in tried.items():
        alone = small.replace(task, condensed=task.condensed._replace(solver=SGD(steps, 0.1, batch_size=None)))
        assert Pilot(8, (), lengths=False)(alone, HCDC()).tried[0].spearman == pytest.approx(spearman)
