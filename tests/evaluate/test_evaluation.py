"""The judge: keys, seeds, floors, bill, ledger, refusals."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from hcdc.condense import condense
from hcdc.errors import InputError
from hcdc.evaluate import Judge, Scores, bill, retrain, verdict
from hcdc.evaluate.evaluation import better_read, check_members
from hcdc.run import condense_source, task_for
from hcdc.store import DataCard, Ledger
from tests import small

KEYS = {
    "spearman_loss", "spearman_accuracy", "spearman_top_half_loss", "spearman_top_half_accuracy", "kendall_loss", "ci95", "ceiling_loss",
    "ceiling_accuracy", "floor_random_loss", "floor_strong_loss", "floor_strong_accuracy", "floor_strong_top_half_loss",
    "picked_test_accuracy", "best_test_accuracy", "regret_top1", "regret_top5", "seconds_condense", "seconds_search_condensed",
    "seconds_search_full", "break_even_configs", "configs", "seeds", "nodes",
}  # fmt: skip


def artefact(source, method="hcdc"):
    card = DataCard(name=source.name, sha256=source.sha256, kind=source.kind, num_classes=3)
    return condense(small.METHODS[method], small.task(source.splits), card)


@pytest.fixture(scope="module")
def judged():
    source = small.source()
    return Judge(configs=8, seeds=2, config_seed=5)(artefact(source), source)


def test_facts_hold_every_key_of_the_contract_as_plain_json_values(judged):
    assert set(judged.facts) >= KEYS
    assert all(value is None or isinstance(value, (int, float, str, list)) for value in judged.facts.values())
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in judged.facts.values())


def test_figures_follow_from_the_scores(judged):
    test = judged.full.accuracy["test"].mean(0)
    picked = int(judged.condensed.criterion["val"].mean(0).argmin())
    assert judged.facts["picked_test_accuracy"] == pytest.approx(float(test[picked]))
    assert judged.facts["best_test_accuracy"] == pytest.approx(float(test.max()))
    assert judged.facts["regret_top1"] >= judged.facts["regret_top5"] >= 0
    assert judged.full.loss["val"].shape == (2, 8)
    assert len(verdict(judged.facts).lines) == 5


def test_what_a_probe_looks_at_is_no_verdict():
    source = small.source()
    facts = Judge(configs=5, seeds=1, thorough=False)(artefact(source, "random"), source).facts
    with pytest.raises(InputError, match="thorough"):
        verdict(facts)


def test_one_seed_leaves_the_ceiling_open():
    source = small.source()
    facts = Judge(configs=5, seeds=1)(artefact(source, "random"), source).facts
    assert facts["ceiling_loss"] is None
    assert verdict(facts).light in ("green", "amber", "red")


def test_other_data_is_refused():
    source = small.source()
    other = small.source(small.graph(seed=9))
    with pytest.raises(InputError, match="must be the data of the artefact"):
        Judge(configs=4, seeds=1)(artefact(source, "random"), other)


@pytest.mark.parametrize(("field", "value"), [("configs", 1), ("seeds", 0)])
def test_too_few_are_refused(field, value):
    with pytest.raises(InputError, match=f"`{field}` = {value}"):
        Judge(**{field: value})


def test_finished_trainings_are_not_done_again(tmp_path, monkeypatch):
    source = small.source()
    condensed = artefact(source, "random")
    first = Judge(4, 2, 5, Ledger(tmp_path))(condensed, source)

    def forbidden(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("hcdc.evaluate.evaluation.retrain", forbidden)
    assert Judge(4, 2, 5, Ledger(tmp_path))(condensed, source).facts == first.facts
    with pytest.raises(AssertionError, match="trained again"):
        Judge(4, 2, 6, Ledger(tmp_path))(condensed, source)
    next(tmp_path.glob("*.json")).write_text("{")
    with pytest.raises(AssertionError, match="trained again"):
        Judge(4, 2, 5, Ledger(tmp_path))(condensed, source)


def test_two_sets_that_were_never_saved_are_not_taken_for_each_other(tmp_path):
    source, task = small.source(), small.task()
    card = DataCard(name=source.name, sha256=source.sha256, kind="graph", num_classes=3)
    one, other = (condense(small.METHODS[name], task, card) for name in ("random", "hcdc"))
    first = Judge(4, 1, 5, Ledger(tmp_path))(one, source).facts
    second = Judge(4, 1, 5, Ledger(tmp_path))(other, source)
    assert second.facts["seconds_condense"] != first["seconds_condense"]
    fresh = Judge(4, 1, 5)(other, source)
    assert second.condensed.loss["val"].tolist() == fresh.condensed.loss["val"].tolist()


def test_chunks_do_not_change_results():
    task = small.task()
    hyper = task.space.relax_all(task.space.configs(5, 0))
    whole, parts = (retrain(task.full, hyper, task.real.train, {"val": task.real.val}, seed=3, memory=memory) for memory in (2**30, 1))
    torch.testing.assert_close(whole.loss["val"], parts.loss["val"], rtol=1e-3, atol=1e-4)
    again = Scores.from_json(whole.to_json())
    assert torch.equal(again.loss["val"], whole.loss["val"])


def test_a_training_that_diverges_counts_as_worst():
    task = small.task()
    hyper = task.space.relax_all(task.space.configs(3, 0))
    hyper["filter"][1] = float("nan")
    loss = retrain(task.full, hyper, task.real.train, {"val": task.real.val}, seed=0).loss["val"][0]
    assert int(loss.argmax()) == 1
    assert torch.isfinite(loss).all()


def test_the_bill_breaks_even_where_saving_meets_cost():
    assert bill(condense=90, small=10, full=100, configs=30)["break_even_configs"] == 30
    assert bill(condense=90, small=100, full=100, configs=30)["break_even_configs"] is None


def facts(**changes):
    base = dict.fromkeys(KEYS, 0.9) | {"ci95": [0.85, 0.95], "floor_strong_loss": 0.7, "configs": 24, "seeds": 2, "nodes": 9, "break_even_configs": 3}
    return base | {"regret_top1": 0.01, "regret_top5": 0.0} | changes


@pytest.mark.parametrize(
    ("changes", "light"),
    [
        ({}, "green"),
        ({"floor_strong_loss": 0.9}, "amber"),
        ({"floor_strong_loss": 0.895}, "amber"),
        ({"spearman_top_half_loss": 0.2}, "amber"),
        ({"spearman_loss": 0.7}, "amber"),
        ({"regret_top1": 0.065}, "amber"),
        ({"regret_top1": 0.029}, "green"),
        ({"spearman_loss": 0.3}, "red"),
        ({"ci95": [0.1, 0.95]}, "amber"),
        ({"ci95": [0.48, 1.0]}, "amber"),
        ({"configs": 9, "ci95": [1.0, 1.0]}, "amber"),
        ({"break_even_configs": None}, "amber"),
        ({"spearman_loss": 0.49, "ci95": [0.1, 0.95]}, "red"),
        ({"spearman_loss": -0.03, "ci95": [-1.0, 1.0]}, "amber"),
        ({"spearman_loss": -0.4, "ci95": [-0.8, 0.3]}, "red"),
        ({"spearman_loss": None, "ci95": [None, None]}, "red"),
    ],
)
def test_the_light_says_what_the_figures_say(changes, light):
    assert verdict(facts(**changes)).light == light


def test_an_open_question_is_said_to_be_one():
    assert "Undecided" in verdict(facts(ci95=[0.1, 0.95])).sentence
    assert "Undecided" in verdict(facts(configs=4, ci95=[1.0, 1.0])).sentence
    assert "Undecided" in verdict(facts(spearman_loss=0.1, ci95=[-0.9, 0.9])).sentence


def test_a_look_without_test_data_makes_no_claim_about_it():
    source = small.source()
    judge = Judge(configs=5, seeds=2, thorough=False)
    found = judge(artefact(source, "random"), source)
    assert set(found.floors) == {"floor_strong"}
    assert set(found.full.loss) == {"val"}
    assert not {name for name in found.facts if "test" in name or "regret" in name or "picked" in name}
    thorough = Judge(configs=5, seeds=2)(artefact(source, "random"), source)
    assert thorough.facts["spearman_loss"] == found.facts["spearman_loss"]


def test_the_two_looks_do_not_share_a_ledger_entry_of_the_full_data(tmp_path):
    source = small.source()
    for thorough in (False, True):
        facts = Judge(4, 1, ledger=Ledger(tmp_path), thorough=thorough)(artefact(source, "random"), source).facts
    assert facts["best_test_accuracy"] > 0


def test_verdict_reads_none_as_a_dash():
    lines = verdict(facts(picked_test_accuracy=None, regret_top5=None, break_even_configs=None, ceiling_loss=None)).lines
    assert "– %" in lines[3]
    assert "never pays" in lines[4]


def test_a_set_that_never_pays_is_not_recommended():
    assert "search on the full data" in verdict(facts(break_even_configs=None)).sentence


def test_a_regression_that_explains_nothing_is_said_to():
    score = {"score": "r2", "spearman_r2": 0.9, "spearman_top_half_r2": 0.9}
    said = [verdict(facts(**score, picked_test_r2=best, best_test_r2=best)).lines[3] for best in (-0.07, 0.4)]
    assert ["better than the mean" in line for line in said] == [True, False]


def test_what_one_training_cannot_tell_is_said():
    assert "not known from one training of each" in verdict(facts(seeds=1, ceiling_loss=None)).lines[2]


def test_a_set_that_does_not_rank_is_not_said_to_pay():
    assert "pays" not in verdict(facts(spearman_loss=0.3)).lines[4]
    assert "pays for itself from 3 configurations on, each trained twice" in verdict(facts()).lines[4]
    assert "from 1 configuration on, trained once" in verdict(facts(break_even_configs=1, seeds=1)).lines[4]
    assert "each trained 5 times" in verdict(facts(seeds=5)).lines[4]


def test_a_verdict_prints_as_the_command_line_does():
    told = verdict(facts())
    assert str(told).splitlines() == [f"GREEN: {told.sentence}", *told.lines]


def test_a_floor_is_given_the_better_of_its_two_readings(judged):
    scores = judged.floors["floor_strong"]
    accuracy = judged.full.accuracy["val"]
    for good, bad in (("loss", "criterion"), ("criterion", "loss")):
        readings = {good: {"val": -accuracy}, bad: {"val": accuracy}}
        found = better_read(dataclasses.replace(scores, **readings), judged.full)
        assert torch.equal(found.criterion["val"], -accuracy)
        assert torch.equal(found.loss["val"], readings["loss"]["val"])


def test_a_configuration_is_judged_once_however_few_there_are():
    source = small.source(small.images())
    task = task_for(source, size=9, family="convnet", width=4, depth=1, searched=("activation", "pooling"))
    members = len(task.space.distinct(1000, 0))
    condensed = condense_source(source, task, "random")
    judged = Judge(configs=24, seeds=1)(condensed, source)
    assert judged.facts["configs"] == len(judged.configs) == members < 24
    assert ("Undecided" in verdict(judged.facts).sentence) or verdict(judged.facts).light == "red"


def test_a_space_too_small_to_rank_is_said_to_be():
    with pytest.raises(InputError, match="has 3 configurations in all"):
        check_members(3)
