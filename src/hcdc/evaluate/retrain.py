"""Train every configuration, on the condensed set or on the full data, many at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hcdc._tensors import batch_size, take
from hcdc._typing import Hyper, Params
from hcdc.bilevel import MEMORY, WORST, Bilevel, Recipe, Scored, readings, together
from hcdc.errors import InputError

METRICS = ("loss", "accuracy", "criterion")


@dataclass(frozen=True)
class Scores:
    """`loss`, `accuracy` (of a regression R^2) and the problem's own `criterion` (lower is better), each [seeds, configs] by
    name of the data that it was measured on, and the seconds that it all took."""

    loss: dict[str, Tensor]
    accuracy: dict[str, Tensor]
    criterion: dict[str, Tensor]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {name: {k: v.tolist() for k, v in getattr(self, name).items()} for name in METRICS} | {"seconds": self.seconds}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scores:
        parts = {name: {k: torch.tensor(v) for k, v in value[name].items()} for name in METRICS}
        return cls(**parts, seconds=float(value["seconds"]))

    @classmethod
    def join(cls, parts: Sequence[Scores], dim: Literal[0, 1] = 0) -> Scores:
        """Seeds (`dim` 0) or configurations (1) of several runs, one after the other; their seconds add up."""
        joined = {name: {key: torch.cat([getattr(part, name)[key] for part in parts], dim) for key in getattr(parts[0], name)} for name in METRICS}
        return cls(**joined, seconds=sum(part.seconds for part in parts))


def retrain(recipe: Recipe, hyper: Hyper, train: Any, judged_on: Mapping[str, Any], *, seed: int, memory: int = MEMORY) -> Scores:
    """Train each point of the batched `hyper` on `train` from one seed and measure it on every data of `judged_on`.

    As many models are trained at once as `memory` bytes hold.
    """
    if not isinstance(recipe.problem, Scored):
        raise InputError(
            "problem", type(recipe.problem).__name__, "must have `metrics` to be evaluated", "add a method that returns loss and accuracy"
        )
    began = time.perf_counter()
    parts: list[dict[str, dict[str, Tensor]]] = []
    for part in slices(recipe, train, judged_on, batch_size(hyper), memory):
        some = take(hyper, part)
        params = recipe.fit(some, train, seed=seed)
        parts.append({name: measure(recipe.problem, params, some, data) for name, data in judged_on.items()})
    joined = {metric: {name: torch.cat([part[name][metric] for part in parts]).unsqueeze(0) for name in judged_on} for metric in METRICS}
    return Scores(**joined, seconds=time.perf_counter() - began)


def slices(recipe: Recipe, train: Any, judged_on: Mapping[str, Any], count: int, memory: int = MEMORY) -> list[slice]:
    """`count` trainings in slices that `memory` holds, be it of the data trained on or of that judged on."""
    return together(recipe.problem, max((train, *judged_on.values()), key=lambda data: data.size), count, memory)


@torch.no_grad()
def measure(problem: Bilevel, params: Params, hyper: Hyper, data: Any) -> dict[str, Tensor]:
    """Metrics [B] of trained models; a loss that is not a number counts as infinitely bad."""
    found = readings(problem, params, hyper, data)
    worst = {name: torch.nan_to_num(found[name], nan=WORST, posinf=WORST) for name in ("loss", "criterion")}
    return {**worst, "accuracy": found["accuracy"]}
