"""S_train from an artefact: which one, that it is taken as it is, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from hcdc.condense import HCDC, Bank, Existing, condense
from hcdc.errors import InputError
from hcdc.run import train_from
from hcdc.store import DataCard
from tests import small

DRIVER = Bank(starts=4, stages=1, chunk=4, steps=3, batch=4)


def made(seed: int = 0, size: int = 9):
    source = small.source(small.images())
    card = DataCard.of(source.name, source.sha256, "images", source.splits.train)
    return condense(small.Coreset(), small.task(small.images(), size=size, seed=seed), card)


def test_the_training_set_is_taken_as_it_is():
    artefact, task = made(), small.task(small.images(), seed=1)
    found = condense(HCDC(train=Existing.of(artefact), start=small.Coreset(), driver=DRIVER), task, artefact.card.data)
    assert torch.equal(found.train.x, artefact.train.x)
    assert torch.equal(found.train.y, artefact.train.y)
    settings = json.loads(json.dumps(found.card.settings["train"]))
    assert settings == {"type": "Existing", "method": "random", "fingerprint": artefact.fingerprint()}


def test_another_number_of_examples_is_refused():
    method = HCDC(train=Existing.of(made()), start=small.Coreset(), driver=DRIVER)
    with pytest.raises(InputError, match="`size` = 12: the artefact to train on has 9 examples"):
        method.init(small.task(small.images(), size=12))


def test_other_data_is_refused(tmp_path):
    made().save(tmp_path)
    other = small.source(small.images(60))
    with pytest.raises(InputError, match=r"`train-from` = .*was made from other data"):
        train_from(tmp_path, other)
    with pytest.raises(InputError, match="`train-from` = 'random': must be made of the same data"):
        HCDC(train=Existing.of(made())).init(small.task())
    assert train_from(tmp_path, small.source(small.images())).data.size == 9
