"""What every condenser owes: purity, resumption, valid artefacts, no sight of test data."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from hcdc.condense import condense, recipes_of
from hcdc.errors import FormatError, HcdcError
from hcdc.store import Checkpoint, DataCard, load_condensed
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)


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
    first, second = (condense(method, small.task(seed=1), CARD) for _ in range(2))
    other = condense(method, small.task(seed=2), CARD)
    assert same(first.train, second.train)
    assert same(first.val, second.val)
    assert same(first.val, other.val) == (name in ("herding", "k-center")), "these two draw nothing"


@pytest.mark.parametrize("name", [name for name, method in small.METHODS.items() if method.length()])
def test_resuming_ends_bit_identical(name, tmp_path):
    method, task = small.METHODS[name], small.task()
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
    condensed = condense(small.METHODS[name], small.task(), CARD)
    condensed.save(tmp_path / "out")
    loaded = load_condensed(tmp_path / "out")
    assert same(loaded.train, condensed.train)
    assert same(loaded.val, condensed.val)
    for data in (loaded.train, loaded.val):
        assert data.size == 9
        assert torch.isfinite(data.x).all()
        assert torch.equal(data.adjacency, data.adjacency.T)
        assert data.adjacency.diagonal().abs().sum() == 0


@pytest.mark.parametrize("name", small.METHODS)
def test_test_labels_and_other_hidden_labels_change_nothing(name):
    splits = small.graph()
    hidden = splits.train.y == -1
    assert hidden.any(), "labels outside of the training mask must not be there to be read"
    assert (splits.val.y[~splits.val.mask] == -1).all()
    method = small.METHODS[name]
    changed = splits._replace(test=splits.test.replace(y=(splits.test.y + 1) % 3))
    assert same(condense(method, small.task(splits), CARD).val, condense(method, small.task(changed), CARD).val)


def test_seconds_before_an_interruption_are_on_the_bill(tmp_path):
    checkpoint = Checkpoint(tmp_path, interval=0.0)
    with pytest.raises(Stop):
        condense(small.METHODS["hcdc"], small.task(), CARD, checkpoint=checkpoint, callbacks=[stopping(8)])
    step, groups, facts = checkpoint.load()
    checkpoint.save(step, groups, facts | {"seconds": 1000.0})
    assert condense(small.METHODS["hcdc"], small.task(), CARD, checkpoint=Checkpoint(tmp_path)).card.seconds > 1000


def edited(change):
    condensed = condense(small.METHODS["random"], small.task(), CARD)
    card = condensed.card.model_copy(deep=True)
    change(card)
    return dataclasses.replace(condensed, card=card)


UNFIT = {
    "one recipe": (lambda c: c.recipes.pop("full"), "`recipes`: lacks 'full'"),
    "no problem": (lambda c: c.recipes["full"].pop("problem"), "`recipes`"),
    "other features": (lambda c: c.recipes["condensed"]["problem"].update(num_features=13), "num_features`: is 13, the data has 12"),
    "other classes": (lambda c: c.recipes["condensed"]["problem"].update(num_classes=4), "num_classes`: is 4, the data has 3"),
    "other order": (lambda c: c.recipes["full"]["problem"].update(order=7), "`space`: has .*filter.*reads"),
    "an order past reason": (lambda c: c.recipes["full"]["problem"].update(order=10**12), "must lie between 0 and 1000"),
    "a width of text": (lambda c: c.recipes["full"]["problem"].update(hidden="wide"), "problem.hidden"),
    "an unknown setting": (lambda c: c.recipes["full"]["problem"].update(colour=1), "colour"),
    "an unknown family": (lambda c: c.recipes["full"]["problem"].update(family="tree"), "tree"),
    "steps of text": (lambda c: c.recipes["full"]["solver"].update(steps="many"), "steps"),
    "an unknown solver setting": (lambda c: c.recipes["full"]["solver"].update(momentum=1), "momentum"),
}


@pytest.mark.parametrize(("change", "said"), UNFIT.values(), ids=UNFIT)
def test_recipes_that_do_not_fit_are_refused(change, said):
    with pytest.raises(FormatError, match=said):
        recipes_of(edited(change))


def test_recipes_are_those_of_the_task():
    task = small.task()
    assert recipes_of(condense(small.METHODS["random"], task, CARD)) == {"condensed": task.condensed, "full": task.full}
