"""What every condenser owes: purity, resumption, valid artefacts, no sight of test data."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from hcdc.condense import condense, recipes_of
from hcdc.errors import FormatError, HcdcError
from hcdc.store import Checkpoint, DataCard
from hcdc.testing import Stop, check_condenser, stopping
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)


def task_of(name: str):
    return small.task(small.splits_for(small.METHODS[name]))


@pytest.mark.parametrize("name", small.METHODS)
def test_conformance(name, tmp_path):
    """Purity, resumption to the bit, valid artefacts: Herding and K-Center draw nothing."""
    loaded = check_condenser(small.METHODS[name], task_of(name), tmp_path, draws=name not in ("herding", "k-center"))
    for data in (loaded.train, loaded.val):
        assert torch.isfinite(data.x).all()
        if loaded.card.data.kind == "graph":
            assert torch.equal(data.adjacency, data.adjacency.T)
            assert data.adjacency.diagonal().abs().sum() == 0


@pytest.mark.parametrize("name", ["hcdc", "random", "herding"])
def test_conformance_on_images(name, tmp_path):
    """Whose space has choices."""
    check_condenser(small.METHODS[name], small.task(small.images()), tmp_path, draws=name != "herding")


def test_a_checkpoint_of_other_arguments_is_refused(tmp_path):
    method = small.METHODS["hcdc"]
    with pytest.raises(Stop):
        condense(method, small.task(), CARD, checkpoint=Checkpoint(tmp_path, interval=0.0), callbacks=[stopping(3)])
    with pytest.raises(HcdcError, match="other arguments"):
        condense(method, small.task(seed=5), CARD, checkpoint=Checkpoint(tmp_path))


def test_a_checkpoint_of_another_version_is_refused(tmp_path, monkeypatch):
    method = small.METHODS["hcdc"]
    with pytest.raises(Stop):
        condense(method, small.task(), CARD, checkpoint=Checkpoint(tmp_path, interval=0.0), callbacks=[stopping(3)])
    monkeypatch.setattr("hcdc.condense.loop.numerics", lambda: {"torch": "0.1"})
    with pytest.raises(HcdcError, match=r"other arguments \(versions\)"):
        condense(method, small.task(), CARD, checkpoint=Checkpoint(tmp_path))


@pytest.mark.parametrize("name", small.METHODS)
def test_test_labels_and_other_hidden_labels_change_nothing(name):
    method = small.METHODS[name]
    splits = small.splits_for(method)
    if hasattr(splits.train, "adjacency"):
        assert (splits.train.y == -1).any(), "labels outside of the training mask must not be there to be read"
        assert (splits.val.y[~splits.val.mask] == -1).all()
    changed = splits._replace(test=splits.test.replace(x=splits.test.x + 1, y=(splits.test.y + 1) % 3))
    assert condense(method, small.task(splits), CARD).fingerprint() == condense(method, small.task(changed), CARD).fingerprint()


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
    "other order": (lambda c: c.recipes["full"]["problem"].update(order=7), "`space`: filter.*reads"),
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
