"""What both forms of HCDC share: S_train first, then points, then steps on S_val."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from hcdc._progress import Progress
from hcdc._tensors import TensorDict, under
from hcdc.condense.optimise import not_finite
from hcdc.condense.task import Callback, Condenser, Staged, Task
from hcdc.errors import ConvergenceError, InputError
from hcdc.store import Groups

REJECTED = 20
"""Consecutive rejected steps after which a run is given up."""

METRICS = {"align": "alignment_loss", "values": "values_loss", "accuracy": "accuracy_loss"}
"""Names in the history of what the weights of the same name multiply; lower is better."""

TINY = 1e-8
"""Losses below this, which easy data can round to 0, are taken as this before their logarithm."""


def check_driver(driver: Any) -> None:
    """Raise `InputError` where a count is not positive or the rate is negative."""
    given = {each.name: getattr(driver, each.name) for each in fields(driver)}
    wrong = [name for name, value in given.items() if not value >= (0 if name == "rate" else 1)]
    if wrong:
        raise InputError(", ".join(wrong), tuple(given[name] for name in wrong), "must be at least 1, and `rate` 0", "leave them at their defaults")


class Calibration(ABC):
    """A condenser whose S_train another one makes (`train`), and which then learns S_val.

    Its state holds that of `train` under "inner/", S_val as "val" and as it was "before" the last step, the "moments", and its
    "health": the factor of the rate, halved by every rejected step, and how many were rejected in a row.
    """

    train: Condenser

    @property
    def name(self) -> str:
        return "hcdc"

    @abstractmethod
    def measurements(self) -> int:
        """Steps in which the bank is made; 0 where there is none."""

    @abstractmethod
    def updates(self) -> int:
        """Steps of S_val."""

    @abstractmethod
    def measure_more(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        """Measurement `number`."""

    @abstractmethod
    def learn(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        """Step `number` of S_val."""

    def stages(self) -> dict[str, int]:
        return {"making S_train": self.train.length(), "measuring points": self.measurements(), "learning S_val": self.updates()}

    def length(self) -> int:
        return sum(self.stages().values())

    def begun(self, task: Task) -> Groups:
        """The state before the first step, but for S_val."""
        state = {f"inner/{key}": value for key, value in self.train.init(task).items()}
        return state | {"moments": {}, "health": {"rate": torch.ones(()), "rejected": torch.zeros(())}}

    def step(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        first, second = self.train.length(), self.measurements()
        if number < first:
            inner, metrics = self.train.step(task, under(state, "inner/"), number)
            return state | {f"inner/{key}": value for key, value in inner.items()}, metrics
        number -= first
        return self.measure_more(task, state, number) if number < second else self.learn(task, state, number - second)

    def made(self, task: Task, state: Groups) -> Any:
        """S_train."""
        return self.train.extract(task, under(state, "inner/"))[0]

    def accepted(self, state: Groups, number: int, step: tuple[Tensor, TensorDict, TensorDict], val: Callable[[TensorDict], TensorDict]) -> Groups:
        """`state` after step `number` = (loss, tensors, moments), the loss being that of where the step began and S_val `val` of
        the tensors. Where one of them is not finite, S_val goes back to where the step before began, with half the rate: a
        loss that is not finite says that this one led astray."""
        loss, tensors, moments = step
        broken = not_finite({"loss": loss, **tensors})
        if broken:
            health = _rejected(state["health"], number, broken)
            return state | {"val": state.get("before", state["val"]), "moments": {}, "health": health}
        health = state["health"] | {"rejected": torch.zeros(())}
        return state | {"val": val(tensors), "before": state["val"], "moments": moments, "health": health}


def stages_of(method: Condenser, label: str) -> dict[str, int]:
    """How many steps each stage of `method` has; a method of one stage goes by `label`."""
    return {stage: steps for stage, steps in method.stages().items() if steps} if isinstance(method, Staged) else {label: method.length()}


def staged(method: Condenser, progress: Progress, label: str) -> Callback:
    """A callback of `condense` that tells `progress` of each stage by itself, since a step of one may take as long as a hundred
    of another; a method of one stage goes by `label`."""
    stages = stages_of(method, label)

    def told(done: int, total: int, metrics: dict[str, float]) -> None:
        for stage, steps in stages.items():
            if done <= steps:
                progress(stage, done, steps)
                return
            done -= steps

    return told


def log(value: Tensor) -> Tensor:
    """Of what may be 0."""
    return value.clamp_min(TINY).log()


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, [B], [B] -> scalar."""
    return (standard(a) * standard(b)).mean()


def followed(read: dict[str, Tensor], loss: Tensor, accuracy: Tensor) -> dict[str, Tensor]:
    """How far each reading of S_val [B] is from following its real value [B], `loss` or `accuracy`: 1 - corr(log loss_S, log
    loss_T) and, where there is a soft accuracy p_S, 1 - corr(log(1 - p_S), -accuracy_T)."""
    terms = {"values": 1 - correlation(log(read["loss"]), log(loss))}
    if "soft_accuracy" in read:
        terms["accuracy"] = 1 - correlation(log(1 - read["soft_accuracy"]), -accuracy)
    return terms


def standard(a: Tensor) -> Tensor:
    """Mean 0 and variance 1 (a constant becomes 0)."""
    centred = a - a.mean()
    return centred / centred.square().mean().clamp_min(1e-24).sqrt()  # not bounded after the root, whose slope at 0 is infinite


def _rejected(health: TensorDict, number: int, broken: list[str]) -> TensorDict:
    count = health["rejected"] + 1
    if count >= REJECTED:
        rule = f"{REJECTED} steps in a row up to {number} gave values that are not finite, the last in {', '.join(broken)}"
        raise ConvergenceError(f"S_val: {rule}; lower `lr` or add damping")
    return {"rate": health["rate"] / 2, "rejected": count}
