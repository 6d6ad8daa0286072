"""Cosines of hypergradients: of what they are, and where learning starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hcdc.condense import HCDC, Bank
from hcdc.errors import InputError
from hcdc.evaluate import align
from hcdc.evaluate.alignment import start_of
from tests import small
from tests.evaluate.test_evaluation import artefact


def test_the_full_data_is_aligned_with_itself() -> None:
    source = small.source()
    made = artefact(source, "random")
    found = align(replace(made, val=source.splits.val), source, points=5)
    torch.testing.assert_close(found.after, torch.ones(5))
    assert found.before is None
    assert found.loss.shape == (5,)


def test_before_is_where_learning_started(monkeypatch) -> None:
    source, task = small.source(), small.task()
    idle = HCDC(driver=Bank(starts=4, stages=1, chunk=4, steps=1, batch=4), lr=1e-30, lr_structure=1e-30)
    monkeypatch.setitem(small.METHODS, "idle", idle)
    made = artefact(source, "idle")
    start = start_of(made, task)
    assert all(torch.equal(value, start.tensors()[name]) for name, value in idle.init(task)["val"].items())
    found = align(made, source, points=5)
    torch.testing.assert_close(found.before, found.after, rtol=1e-3, atol=1e-4)


def test_learning_turns_hypergradients_towards_the_real_ones(monkeypatch) -> None:
    source = small.source()
    learned = HCDC(driver=Bank(starts=16, stages=1, chunk=16, steps=60, batch=16), values=0.0, lr=0.02, lr_structure=0.02)
    monkeypatch.setitem(small.METHODS, "learned", learned)
    found = align(artefact(source, "learned"), source, points=12)
    assert found.after.median() > found.before.median()


def test_other_data_is_refused() -> None:
    made = artefact(small.source(), "random")
    with pytest.raises(InputError, match="must be the data of the artefact"):
        align(made, small.source(small.graph(seed=9)))
    with pytest.raises(InputError, match="`points` = 0"):
        align(made, small.source(), points=0)
