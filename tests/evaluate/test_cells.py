"""Training cells: what is trained, what it is judged on, and that nothing is trained twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc.bilevel import SGD, WORST, Adam, descend
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.evaluate import CellTrainer, Scores
from hcdc.models import NasBench201
from hcdc.spaces import Cell, sample_cells
from hcdc.store import Ledger
from tests.cases import generator, normal

CELLS = sample_cells(3, 0)
FAMILY = NasBench201(3, shape=(3, 8, 8), channels=4)
TRAINER = CellTrainer(FAMILY, SGD(20, 0.1, batch_size=10))


def images(n: int = 30, seed: int = 0) -> ImageData:
    """Each class a colour, ordered by class."""
    y = torch.arange(n) * 3 // n
    return ImageData((normal(n, 3, 8, 8, seed=seed) + torch.eye(3)[y][:, :, None, None]).float(), y, 3)


def test_cells_learn_what_can_be_learnt() -> None:
    scores = TRAINER(CELLS[:2], images(), {"train": images(), "val": images(seed=1)}, seed=0)
    assert scores.accuracy["val"].shape == (1, 2)
    assert scores.accuracy["train"].min() > 0.9
    assert scores.accuracy["val"].min() > 0.7
    torch.testing.assert_close(scores.criterion, scores.loss)
    assert scores.seconds > 0


def test_a_cell_is_trained_as_its_network_is() -> None:
    """By the plain loop on plain memory."""
    network, train = FAMILY.network(CELLS[0]), images()

    def loss(params: dict[str, Tensor], batch: Any, _: Any) -> Tensor:
        return network.inner(params, {}, batch)

    params = descend(loss, network.init({}, generator(4)), train, SGD(5, 0.1, batch_size=10), seed=4)
    found = CellTrainer(FAMILY, SGD(5, 0.1, batch_size=10)).fit(network, train, 4)
    torch.testing.assert_close(found, params, rtol=1e-3, atol=1e-4)


def test_the_same_seed_makes_the_same_bits_and_another_does_not() -> None:
    quick = replace(TRAINER, solver=Adam(2, batch_size=10))
    one, again, other = (quick(CELLS[:1], images(), {"val": images(seed=1)}, seed=seed).loss["val"] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_judging_in_parts_counts_every_image_once() -> None:
    """Under instance norm, where a prediction does not depend on the part."""
    family = replace(FAMILY, norm="instance", criterion="soft-accuracy")
    network, data = family.network(CELLS[0]), images()
    params = network.init({}, generator(0))
    parts = CellTrainer(family, judge_batch=7).judge(network, params, data)
    whole = {**network.metrics(params, {}, data), "criterion": network.outer(params, {}, data)}
    assert parts == pytest.approx({name: float(whole[name]) for name in parts}, rel=1e-5)
    assert set(parts) == {"loss", "accuracy", "criterion"}


def test_the_order_of_the_images_does_not_decide() -> None:
    """Parts hold all classes although the data is ordered by class."""
    network, data = FAMILY.network(CELLS[1]), images(90)
    params = TRAINER.fit(network, images(), 0)
    whole = float(network.metrics(params, {}, data)["accuracy"])
    assert replace(TRAINER, judge_batch=30).judge(network, params, data)["accuracy"] == pytest.approx(whole, abs=0.1)


def test_what_is_in_the_ledger_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor by another call that has more cells; another seed, set or solver is trained."""
    trained: list[Cell] = []
    original = CellTrainer.one

    def one(self: CellTrainer, cell: Cell, *rest: Any) -> Scores:
        trained.append(cell)
        return original(self, cell, *rest)

    monkeypatch.setattr(CellTrainer, "one", one)
    trainer = CellTrainer(FAMILY, SGD(1, batch_size=10), ledger=Ledger(tmp_path))
    judged, steps = {"val": images(seed=1)}, list[tuple[int, int]]()
    first = trainer(CELLS[:2], images(), judged, seed=0)
    whole = trainer(CELLS, images(), judged, seed=0, progress=lambda done, total: steps.append((done, total)))
    assert trained == [*CELLS[:2], CELLS[2]]
    assert torch.equal(whole.loss["val"][:, :2], first.loss["val"])
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert whole.seconds > first.seconds
    trainer(CELLS[:1], images(), judged, seed=1)
    trainer(CELLS[:1], images(seed=5), judged, seed=0)
    trainer(CELLS[:1], images(), {"val": images(seed=6)}, seed=0)
    replace(trainer, solver=SGD(2, batch_size=10))(CELLS[:1], images(), judged, seed=0)
    replace(trainer, family=replace(FAMILY, weight_decay=0.1))(CELLS[:1], images(), judged, seed=0)
    replace(trainer, bf16=True)(CELLS[:1], images(), judged, seed=0)
    assert len(trained) == 9


def test_bf16_is_near_float32_and_leaves_parameters_in_float32() -> None:
    network, train = FAMILY.network(CELLS[0]), images()
    quick = replace(TRAINER, solver=SGD(3, 0.05, batch_size=10))
    exact, rough = quick.fit(network, train, 0), replace(quick, bf16=True).fit(network, train, 0)
    assert all(value.dtype == torch.float32 for value in rough.values())
    differences = torch.stack([(exact[name] - rough[name]).abs().max() for name in exact])
    assert 0 < float(differences.max()) < 0.05


def test_a_model_that_diverged_is_the_worst() -> None:
    network = FAMILY.network(CELLS[0])
    params = {name: value * float("nan") for name, value in network.init({}, generator(0)).items()}
    assert TRAINER.judge(network, params, images())["loss"] == pytest.approx(WORST)


def test_dropout_is_drawn_in_training() -> None:
    network, train = replace(FAMILY, dropout=0.5).network(CELLS[0]), images()
    solver = SGD(2, batch_size=10)
    without = CellTrainer(FAMILY, solver).fit(FAMILY.network(CELLS[0]), train, 0)
    assert not torch.equal(CellTrainer(FAMILY, solver).fit(network, train, 0)["head.weight"], without["head.weight"])


@pytest.mark.parametrize(
    ("settings", "named"), [({"judge_batch": 0}, "judge_batch"), ({"family": replace(FAMILY, regularisers=("decay",))}, "regularisers")]
)
def test_settings_out_of_range(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"^`{named}` = "):
        CellTrainer(**{"family": FAMILY} | settings)
