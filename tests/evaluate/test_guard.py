"""The guard: order of S, early stop, noise, recommendation, bill, refusals."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from hcdc.condense import condense
from hcdc.errors import InputError
from hcdc.evaluate import Guard, Guarded, objective_for, retrain
from hcdc.evaluate.guard import Candidate, real_of
from hcdc.evaluate.scores import Scores
from hcdc.search import Random, Trial
from hcdc.spaces import Real, Space
from hcdc.store import DataCard, Ledger
from tests import small

SOURCE = small.source()


@pytest.fixture(scope="module")
def condensed():
    card = DataCard(name=SOURCE.name, sha256=SOURCE.sha256, kind=SOURCE.kind, num_classes=3)
    return condense(small.METHODS["random"], small.task(SOURCE.splits), card)


@pytest.fixture(scope="module")
def trials(condensed):
    return Random().run(objective_for(condensed), trials=6, seed=0)


def found(*rows: tuple[float, ...]) -> Guarded:
    """Candidates in the order of S with these real criteria."""
    return Guarded(tuple(Candidate(Trial({"a": float(place)}, float(place), 0.1), row) for place, row in enumerate(rows)), 1.0, len(rows), len(rows))


CLEAR = [(1.0, 1.1), (2.0, 2.1), (3.0, 3.1)]
"""Noise 0.07, so that a difference of means is told from 0.14 on."""


@pytest.mark.parametrize(("rows", "settled"), [
    (CLEAR, True),
    (CLEAR[:2], False),
    ([CLEAR[0], (1.05, 1.1), CLEAR[2]], False),
    ([CLEAR[0], CLEAR[1], (1.0, 1.12)], False),
    ([CLEAR[1], CLEAR[0], CLEAR[2]], False),
    ([CLEAR[0], (1.05, 1.1), CLEAR[2], CLEAR[1]], True),
    ([(1.0, 1.9), (2.0, 2.9), (2.1, 3.0)], False),
])  # fmt: skip
def test_the_rest_is_left_out_once_two_in_a_row_have_lost_to_the_first(rows, settled):
    assert found(*rows).settled() is settled


def test_facts_say_what_the_scores_say():
    facts = found((1.0, 1.1), (0.5, 0.6), (3.0, 3.1)).facts
    assert facts["recommended_place"] == 2
    assert facts["recommended_config"] == {"a": 1.0}
    assert (facts["first_held"], facts["first_within_noise"]) == (False, False)
    assert facts["kendall"] == pytest.approx(1 / 3)
    assert facts["noise"] == pytest.approx(0.1 / math.sqrt(2))
    assert found((1.0, 1.1), (0.98, 1.08), (3.0, 3.1)).facts["first_within_noise"] is True
    assert found(*CLEAR).facts["kendall"] == pytest.approx(1.0)
    assert found(CLEAR[0]).facts["kendall"] is None
    json.dumps(facts, allow_nan=False)


def test_a_training_that_diverged_is_no_measure_of_noise():
    assert found(*CLEAR, (1.0, 1e30)).noise == pytest.approx(found(*CLEAR).noise)
    assert found((1e30, 1e30)).noise == 0.0


@pytest.mark.parametrize(("by_accuracy", "sound"), [(True, 0.25), (False, 0.5)])
def test_a_training_that_diverged_is_the_worst_by_either_measure(by_accuracy, sound):
    criterion, accuracy = torch.tensor([[0.5], [1e30]]), torch.tensor([[0.75], [0.1]])
    scores = Scores({"val": criterion}, {"val": accuracy}, {"val": criterion}, 1.0)
    assert real_of(scores, by_accuracy) == pytest.approx((sound, 1e30))


def test_the_best_are_trained_on_the_full_data_in_the_order_of_s(condensed, trials, monkeypatch):
    seen = []
    monkeypatch.setattr(Guarded, "settled", lambda self: False)
    result = Guard(keep=3, seeds=2)(condensed, SOURCE, trials, progress=lambda *told: seen.append(told))
    assert [each.trial for each in result.candidates] == sorted(trials, key=lambda trial: trial.score)[:3]
    assert seen == [("the full data", done, 3) for done in (1, 2, 3)]
    splits, task = SOURCE.splits, small.task()
    for each in result.candidates:
        hyper = condensed.space.relax_all([each.trial.config])
        own = [float(retrain(task.full, hyper, splits.train, {"val": splits.val}, seed=1000 + seed).criterion["val"]) for seed in (0, 1)]
        assert list(each.real) == own
    assert result.seconds > 0
    assert not result.stopped
    assert result.candidates[result.best].mean == min(each.mean for each in result.candidates)


def test_where_s_is_read_by_its_soft_accuracy_the_error_on_the_full_data_judges(condensed, trials):
    recipes = condensed.card.recipes
    soft = recipes | {"condensed": recipes["condensed"] | {"problem": recipes["condensed"]["problem"] | {"criterion": "soft-accuracy"}}}
    by_accuracy = dataclasses.replace(condensed, card=condensed.card.model_copy(update={"recipes": soft}))
    result = Guard(keep=2, seeds=2)(by_accuracy, SOURCE, trials)
    splits, task = SOURCE.splits, small.task()
    for each in result.candidates:
        hyper = condensed.space.relax_all([each.trial.config])
        scores = [retrain(task.full, hyper, splits.train, {"val": splits.val}, seed=1000 + seed) for seed in (0, 1)]
        assert each.real == pytest.approx([1 - float(found.accuracy["val"]) for found in scores])


def test_it_stops_where_it_is_settled(condensed, trials, monkeypatch):
    monkeypatch.setattr(Guarded, "settled", lambda self: len(self.candidates) == 2)
    result = Guard(keep=4, seeds=2)(condensed, SOURCE, trials)
    assert (len(result.candidates), result.stopped) == (2, True)
    whole = Guard(keep=2, seeds=2)(condensed, SOURCE, trials)
    assert (len(whole.candidates), whole.stopped) == (2, False)


def test_test_data_are_not_looked_at(condensed, trials):
    blind = dataclasses.replace(SOURCE, splits=SOURCE.splits._replace(test=None))
    assert len(Guard(keep=2, seeds=2)(condensed, blind, trials).candidates) == 2


def test_a_configuration_is_trained_once_and_a_pruned_trial_not_at_all(condensed, trials):
    best = min(trials, key=lambda trial: trial.score)
    others = [best._replace(score=best.score + 0.1), trials[0]._replace(score=-1.0, pruned=True), best]
    result = Guard(keep=3, seeds=2)(condensed, SOURCE, others)
    assert [each.trial for each in result.candidates] == [best]
    with pytest.raises(InputError, match="one that was not pruned"):
        Guard(keep=3, seeds=2)(condensed, SOURCE, others[1:2])


def test_finished_trainings_are_not_done_again_and_stay_on_the_bill(condensed, trials, tmp_path, monkeypatch):
    first = Guard(2, 2, Ledger(tmp_path))(condensed, SOURCE, trials)

    def forbidden(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("hcdc.evaluate.guard.retrain", forbidden)
    again = Guard(2, 2, Ledger(tmp_path))(condensed, SOURCE, trials)
    assert again.facts == first.facts
    with pytest.raises(AssertionError, match="trained again"):
        Guard(3, 2, Ledger(tmp_path))(condensed, SOURCE, trials)


def test_a_space_that_goes_further_is_followed(condensed):
    wide = Space({name: Real(-3, 3) for name in condensed.space.axes})
    trial = Trial(dict.fromkeys(wide.axes, 2.5), 0.1, 0.1)
    assert len(Guard(keep=2, seeds=2)(condensed, SOURCE, [trial], space=wide).candidates) == 1


def test_other_data_and_too_few_are_refused(condensed, trials):
    with pytest.raises(InputError, match="must be the data of the artefact"):
        Guard()(condensed, small.source(small.graph(seed=9)), trials)
    with pytest.raises(InputError, match="`guard` = 1"):
        Guard(keep=1)
    with pytest.raises(InputError, match="`seeds` = 1"):
        Guard(seeds=1)
