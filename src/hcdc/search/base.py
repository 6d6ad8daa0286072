"""What every searcher searches, and what it returns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.func import vmap

from hcdc._tensors import ravel, take
from hcdc._typing import Config, Hyper, Params
from hcdc.bilevel import CG, WORST, Implicit, Recipe, hypergradients, together
from hcdc.engine import Engine, local
from hcdc.errors import InputError
from hcdc.spaces import Space


class Trial(NamedTuple):
    """One configuration, its score (lower is better) and the seconds that its training took, its batch shared evenly."""

    config: dict[str, float | int | str]
    score: float
    seconds: float


@dataclass(frozen=True)
class Objective:
    """Training and validation data of any origin, condensed or original, how a configuration is trained and the space to search."""

    recipe: Recipe
    space: Space
    train: Any
    val: Any
    adjoint: Implicit = Implicit(CG(1e-2, 20), damping=1e-3)
    engine: Engine = local

    def trials(self, configs: Sequence[Config], seed: int) -> tuple[Trial, ...]:
        """Train the configurations, as many together as memory holds, and score each by the validation criterion."""
        hyper, largest = self.space.relax_all(configs), max(self.train, self.val, key=lambda data: data.size)
        parts = together(self.recipe.problem, largest, len(configs))
        found = self.engine(scored, {"objective": self}, [{"hyper": take(hyper, part), "seed": seed} for part in parts])
        return tuple(trial for part, answer in zip(parts, found, strict=True) for trial in collected(configs[part], *answer))

    def scores(self, hyper: Hyper, seed: int) -> tuple[Tensor, Params]:
        """(criterion [B], trained parameters) of the points of a batched `hyper`."""
        params = self.recipe.fit(hyper, self.train, seed=seed)

        def outer(one: Params, point: Hyper) -> Tensor:
            return self.recipe.problem.outer(one, point, self.val)

        with torch.no_grad():
            return vmap(outer)(params, hyper), params

    def slopes(self, params: Params, hyper: Hyper) -> Tensor:
        """Hypergradients [B, k] at trained parameters."""
        found, _ = hypergradients(self.recipe.problem, params, hyper, self.train, self.val, adjoint=self.adjoint, throw=False)
        return ravel(found)


def scored(objective: Objective, hyper: Hyper, seed: int) -> tuple[Tensor, float]:
    """(scores [B], the seconds that they took)."""
    began = time.perf_counter()
    found, _ = objective.scores(hyper, seed)
    return found, time.perf_counter() - began


def collected(configs: Sequence[Config], scores: Tensor, seconds: float) -> tuple[Trial, ...]:
    """One trial a configuration, `seconds` shared evenly; a score that is not finite is `WORST`."""
    finite, share = torch.nan_to_num(scores, nan=WORST, posinf=WORST), seconds / len(configs)
    return tuple(Trial(dict(config), float(score), share) for config, score in zip(configs, finite, strict=True))


class Searcher(Protocol):
    """An algorithm that spends `trials` trainings and returns all of them."""

    def run(self, objective: Objective, *, trials: int, seed: int) -> tuple[Trial, ...]: ...


def check_trials(trials: int) -> None:
    if trials < 1:
        raise InputError("trials", trials, "must be at least 1", "ask for one trial or more")
