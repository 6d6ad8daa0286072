"""The checks see what they are for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from hcdc.condense import HERDING, Coreset
from hcdc.search import Objective, Random
from hcdc.testing import check_condenser, check_searcher
from tests import small


@dataclass(frozen=True)
class Noisy:
    """A condenser of four steps, each of which adds noise to nodes at random; `fault` breaks a rule."""

    fault: str = ""
    name: str = "noisy"
    start: Coreset = Coreset(balanced=False)

    def length(self):
        return 4

    def init(self, task):
        train, val = (self.start.select(data, 9, task.generator(1)) for data in task.real)
        return {"train": train.tensors(), "val": val.tensors()}

    def step(self, task, state, number):
        generator = None if self.fault == "global numbers" else task.generator(2, number)
        noise = torch.randn(state["val"]["x"].shape, generator=generator)
        if self.fault == "in place":
            state["val"]["x"] += noise
            return state, {}
        return state | {"val": state["val"] | {"x": state["val"]["x"] + noise}}, {}

    def extract(self, task, state):
        count = 8 if self.fault == "a node less" else 9
        train, val = (data.replace(**state[part]) for data, part in zip(task.real, ("train", "val"), strict=True))
        return train, val.take(torch.arange(count))


def test_a_sound_condenser_passes(tmp_path):
    check_condenser(Noisy(), small.task(), tmp_path)


@pytest.mark.parametrize(("fault", "rule"), [
    ("global numbers", "same seed"), ("in place", "changed the state"), ("a node less", "sizes asked for"),
])  # fmt: skip
def test_a_broken_rule_is_named(fault, rule, tmp_path):
    with pytest.raises(AssertionError, match=rule):
        check_condenser(Noisy(fault), small.task(), tmp_path)


def test_who_draws_and_who_does_not(tmp_path):
    with pytest.raises(AssertionError, match="if, and only if"):
        check_condenser(HERDING, small.task(), tmp_path)


@dataclass(frozen=True)
class Faulty:
    """Random search with something wrong."""

    fault: str

    def run(self, objective, *, trials, seed):
        found = Random().run(objective, trials=max(trials, 1), seed=seed)
        if self.fault == "too many":
            return (*found, *found)
        if self.fault == "infinite":
            return (found[0]._replace(score=float("inf")), *found[1:])
        if self.fault == "unseeded":
            return tuple(trial._replace(score=float(torch.rand(()))) for trial in found)
        return found


@pytest.mark.parametrize(("fault", "rule"), [
    ("too many", "asked for"), ("infinite", "finite score"), ("unseeded", "same seed"), ("takes nothing for something", "must be refused"),
])  # fmt: skip
def test_a_faulty_searcher_is_named(fault, rule):
    task = small.task()
    task = replace(task, condensed=task.condensed._replace(solver=replace(task.condensed.solver, steps=2)))
    with pytest.raises(AssertionError, match=rule):
        check_searcher(Faulty(fault), Objective(task.condensed, task.space, task.real.train, task.real.val))
