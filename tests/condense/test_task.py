"""Budgets, seeds and class proportions."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

from hcdc.bilevel import SGD, Adam
from hcdc.condense import Algorithm1, Bank, Budget, CellBank, CellPaths
from hcdc.condense.task import choose
from hcdc.errors import InputError
from tests import small


@pytest.mark.parametrize(("budget", "name"), [((2, 9), "size"), ((31, 9), "size"), ((-1, 9), "size"), ((9, 0), "val-size"), ((9, 500), "val-size")])
def test_a_budget_beyond_the_data_names_argument_value_rule_and_remedy(budget, name):
    with pytest.raises(InputError, match=rf"`{name}` = .*must lie between 3 .* and 30 .*; choose"):
        dataclasses.replace(small.task(), budget=Budget(*budget))


def test_a_part_with_fewer_examples_than_classes_cannot_be_condensed():
    task = small.task()
    few = task.real.val.only(task.real.val.mask & (task.real.val.mask.cumsum(0) <= 2))
    with pytest.raises(InputError, match="`val-size` = 9: there are 2 validation examples of 3 classes; enlarge"):
        dataclasses.replace(task, real=task.real._replace(val=few))


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.data())
def test_choose_keeps_proportions_and_every_class(counts, data):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    count = data.draw(st.integers(len(counts), sum(counts)))
    chosen = choose(labels, count, len(counts), torch.Generator().manual_seed(0))
    assert chosen.numel() == count == chosen.unique().numel()
    found = torch.bincount(labels[chosen], minlength=len(counts))
    assert (found >= 1).all()
    assert (found <= torch.tensor(counts)).all()


def test_choose_leaves_out_a_class_that_is_not_there():
    labels = torch.tensor([0, 0, 0, 2, 2, 2, 2])
    chosen = choose(labels, 5, 4, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[chosen], minlength=4).tolist() == [2, 0, 3, 0]


def test_generators_depend_on_seed_and_salts_alone():
    task = small.task()
    draw = [int(torch.randint(2**31, (), generator=task.generator(*salts))) for salts in ((1,), (1,), (2,), (1, 2), (2, 1))]
    assert draw[0] == draw[1]
    assert len(set(draw)) == 4


@pytest.mark.parametrize("driver", [Bank, Algorithm1, CellBank, CellPaths])
def test_counts_of_nothing_are_refused(driver: Any) -> None:
    for each in dataclasses.fields(driver):
        wrong: Any = -1.0 if each.name == "rate" else 0
        with pytest.raises(InputError, match=f"`{each.name}`"):
            driver(**{each.name: wrong})


def test_a_graph_is_not_trained_in_batches_of_nodes() -> None:
    task = small.task()
    with pytest.raises(InputError, match=r"`full.solver` = SGD.*batch_size=None"):
        replace(task, full=task.full._replace(solver=SGD(5, 0.1)))
    assert replace(task, full=task.full._replace(solver=SGD(5, 0.1, batch_size=None))).full.solver.batch_size is None


def test_another_task_has_another_identity() -> None:
    task = small.task()
    others = [replace(task, seed=1), replace(task, budget=Budget(9, 8)), replace(task, full=task.full._replace(solver=Adam(21, 0.05)))]
    assert len({str(each.identity()) for each in (task, *others)}) == 4
    assert replace(task).identity() == task.identity()
