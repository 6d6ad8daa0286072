"""Probes: which are taken, what they may look at, what they cost, and what the card keeps of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hcdc.data import Splits
from hcdc.errors import InputError
from hcdc.evaluate import Probe, first_look, probe_limit, probes as module
from hcdc.evaluate.probes import SEED, chosen
from hcdc.evaluate.verdict import light_of
from hcdc.spaces import Choice, Real, Space
from hcdc.store import amend_card, load_condensed
from tests import small
from tests.evaluate.test_evaluation import artefact

SPACE = Space({"a": Real(-2.0, 2.0), "op": Choice(("x", "y"))})
FEW = Probe(configs=6, seeds=2)


def test_probes_are_spread_over_the_ranking_and_over_the_space() -> None:
    drawn = SPACE.configs(30, 0)
    score = torch.tensor([config["a"] for config in drawn])
    taken = chosen(SPACE, drawn, score, 10)
    places = [int((score < config["a"]).sum()) for config in taken]
    assert [place // 3 for place in places] == list(range(10))
    assert {config["op"] for config in taken} == {"x", "y"}


def test_of_a_group_the_farthest_is_taken() -> None:
    drawn: list[dict[str, float | int | str]] = [{"a": a, "op": op} for a, op in ((0, "x"), (0.1, "x"), (0.1, "y"), (0, "x"), (0, "x"), (2, "y"))]
    score = torch.arange(6.0)
    assert chosen(SPACE, drawn, score, 3)[1:] == [drawn[2], drawn[5]]


@pytest.fixture(scope="module")
def probed():
    source = small.source()
    return FEW(artefact(source, "random"), source)


def test_the_card_has_the_light_and_its_figures(probed, tmp_path) -> None:
    card = probed.card.probe
    assert (card.configs, card.seeds, card.config_seed) == (6, 2, SEED)
    assert card.light == light_of(card.model_dump())[0]
    assert card.sentence.startswith("As far as 6 probes tell: ")
    assert -1 <= card.ci95[0] <= card.ci95[1] <= 1
    assert card.seconds_probe > card.seconds_search_full > 0
    probed.save(tmp_path / "one")
    assert load_condensed(tmp_path / "one").card.probe == card
    replace(probed, card=probed.card.model_copy(update={"probe": None})).save(tmp_path / "two")
    amend_card(tmp_path / "two", probe=card)
    assert load_condensed(tmp_path / "two").card.probe == card
    assert (tmp_path / "two" / "data.safetensors").read_bytes() == (tmp_path / "one" / "data.safetensors").read_bytes()


def test_the_first_look_is_told_in_four_lines(probed) -> None:
    found = first_look(probed.card)
    assert found is not None
    assert len(found.lines) == 4
    assert "6 probes" in found.lines[0]
    assert found.lines[2].startswith("Condensing took")
    assert first_look(probed.card.model_copy(update={"probe": None})) is None


def test_test_data_is_not_looked_at() -> None:
    """What is no data at all would be found out by a look."""
    source = small.source()
    blind = replace(source, splits=Splits(source.splits.train, source.splits.val, None))
    first, second = (FEW(artefact(source, "random"), each).card.probe for each in (source, blind))
    untimed = {"seconds_probe": 0, "seconds_search_condensed": 0, "seconds_search_full": 0, "break_even_configs": None}
    assert first.model_copy(update=untimed) == second.model_copy(update=untimed)


def test_another_seed_than_that_of_the_condensation() -> None:
    source = small.source()
    made = artefact(source, "random")
    made = replace(made, card=made.card.model_copy(update={"seed": SEED}))
    assert FEW(made, source).card.probe.config_seed == SEED + 1


def test_the_cost_is_what_is_timed_times_what_is_trained(monkeypatch) -> None:
    """Trainings by count: a clock that says a second a call, of at most `STEPS` steps."""
    source, trained = small.source(), list[int]()
    monkeypatch.setattr(module, "timed", lambda action: (action(), 1.0)[1])
    real = module.retrain
    made = artefact(source, "random")
    steps = small.task().full.solver.steps
    one = steps / module.STEPS + 1
    assert FEW.cost(made, source) == pytest.approx((3 + 2 * 2) * one + 2 * one)

    def counted(recipe: Any, hyper: Any, *rest: Any, **more: Any) -> Any:
        trained.append(next(iter(hyper.values())).shape[0])
        return real(recipe, hyper, *rest, **more)

    monkeypatch.setattr(module, "retrain", counted)
    monkeypatch.setattr("hcdc.evaluate.evaluation.retrain", counted)
    FEW(made, source)
    assert sum(trained) == ((3 + 2 * 2) + 2) * FEW.configs


def test_unasked_they_may_take_half_of_the_time_of_condensing_or_half_a_minute() -> None:
    made = artefact(small.source(), "random")
    limits = [probe_limit(replace(made, card=made.card.model_copy(update={"seconds": seconds}))) for seconds in (1.0, 600.0)]
    assert limits == [30.0, 300.0]


@pytest.mark.parametrize(("field", "value"), [("configs", 5), ("seeds", 1)])
def test_too_few_are_refused(field: str, value: int) -> None:
    with pytest.raises(InputError, match=f"`{field}` = {value}"):
        Probe(**{field: value})
