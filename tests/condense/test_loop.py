"""What every condenser owes: purity, resumption, valid artefacts, no sight of test data."""

from __future__ import annotations

import pytest
import torch

from hcdc.condense import condense
from hcdc.errors import HcdcError
from hcdc.store import Checkpoint, DataCard, load_condensed
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)


def task_of(name: str, seed: int = 0):
    return small.task(small.splits_for(small.METHODS[name]), seed=seed)


def card_of(name: str) -> DataCard:
    return DataCard(name="small", sha256="0" * 64, kind="graph" if hasattr(task_of(name).real.train, "adjacency") else "images", num_classes=3)


class Stop(Exception):
    """An interruption at a chosen step."""


def stopping(at: int):
    def callback(done, total, metrics):
        if done == at:
            raise Stop

    return callback


def same(a, b) -> bool:
    left, right = a.tensors(), b.tensors()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("name", small.METHODS)
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(name):
    method = small.METHODS[name]
    first, second = (condense(method, task_of(name, 1), CARD) for _ in range(2))
    other = condense(method, task_of(name, 2), CARD)
    assert same(first.train, second.train)
    assert same(first.val, second.val)
    assert same(first.val, other.val) == (name in ("herding", "k-center")), "these two draw nothing"


@pytest.mark.parametrize("name", [name for name, method in small.METHODS.items() if method.length()])
def test_resuming_ends_bit_identical(name, tmp_path):
    method, task = small.METHODS[name], task_of(name)
    whole = condense(method, task, CARD)
    for stop in (1, method.length() // 2, method.length() - 1):
        checkpoint = Checkpoint(tmp_path / str(stop), interval=0.0)
        with pytest.raises(Stop):
            condense(method, task, CARD, checkpoint=checkpoint, callbacks=[stopping(stop)])
        resumed = condense(method, task, CARD, checkpoint=Checkpoint(tmp_path / str(stop)))
        assert same(resumed.train, whole.train), f"stopped at {stop}"
        assert same(resumed.val, whole.val), f"stopped at {stop}"
        assert [record["step"] for record in resumed.card.history] == [record["step"] for record in whole.card.history]


def test_a_checkpoint_of_other_arguments_is_refused(tmp_path):
    method = small.METHODS["hcdc"]
    with pytest.raises(Stop):
        condense(method, small.task(), CARD, checkpoint=Checkpoint(tmp_path, interval=0.0), callbacks=[stopping(3)])
    with pytest.raises(HcdcError, match="other arguments"):
        condense(method, small.task(seed=5), CARD, checkpoint=Checkpoint(tmp_path))


@pytest.mark.parametrize("name", small.METHODS)
def test_artefacts_are_valid_and_of_the_size_asked_for(name, tmp_path):
    condensed = condense(small.METHODS[name], task_of(name), card_of(name))
    condensed.save(tmp_path / "out")
    loaded = load_condensed(tmp_path / "out")
    assert same(loaded.train, condensed.train)
    assert same(loaded.val, condensed.val)
    for data in (loaded.train, loaded.val):
        assert data.size == 9
        assert torch.isfinite(data.x).all()
        if condensed.card.data.kind == "graph":
            assert torch.equal(data.adjacency, data.adjacency.T)
            assert data.adjacency.diagonal().abs().sum() == 0


@pytest.mark.parametrize("name", small.METHODS)
def test_test_labels_and_other_hidden_labels_change_nothing(name):
    method = small.METHODS[name]
    splits = small.splits_for(method)
    if hasattr(splits.train, "adjacency"):
        assert (splits.train.y == -1).any(), "labels outside of the training mask must not be there to be read"
        assert (splits.val.y[~splits.val.mask] == -1).all()
    changed = splits._replace(test=splits.test.replace(x=splits.test.x + 1, y=(splits.test.y + 1) % 3))
    found, after = (condense(method, small.task(some), CARD) for some in (splits, changed))
    assert same(found.val, after.val)
    assert same(found.train, after.train)


def test_seconds_before_an_interruption_are_on_the_bill(tmp_path):
    checkpoint = Checkpoint(tmp_path, interval=0.0)
    with pytest.raises(Stop):
        condense(small.METHODS["hcdc"], small.task(), CARD, checkpoint=checkpoint, callbacks=[stopping(8)])
    step, groups, facts = checkpoint.load()
    checkpoint.save(step, groups, facts | {"seconds": 1000.0})
    assert condense(small.METHODS["hcdc"], small.task(), CARD, checkpoint=Checkpoint(tmp_path)).card.seconds > 1000
