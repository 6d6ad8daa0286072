"""What every searcher searches, and what it returns."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hcdc._tensors import digest, ravel
from hcdc._typing import Config, Hyper, Params
from hcdc.bilevel import CG, Implicit, Recipe, bounded, hypergradients, together, values
from hcdc.engine import Engine, local
from hcdc.errors import InputError
from hcdc.models import ModuleProblem
from hcdc.spaces import Space
from hcdc.store import Ledger, numerics, space_to_card


class Trial(NamedTuple):
    """One configuration, its score (lower is better) and the seconds that its training took, its batch shared evenly.

    The score of a `pruned` trial is that of a training that was ended early, and is not to be compared with others.
    """

    config: dict[str, float | int | str]
    score: float
    seconds: float
    pruned: bool = False


@dataclass(frozen=True)
class Objective:
    """Training and validation data of any origin, condensed or original, how a configuration is trained and the space to search.

    `starts` are configurations worth trying first, where some are known.
    """

    recipe: Recipe
    space: Space
    train: Any
    val: Any
    adjoint: Implicit = Implicit(CG(1e-2, 20), damping=1e-3)
    starts: tuple[Config, ...] = ()
    engine: Engine = local

    def trials(self, configs: Sequence[Config], seed: int, kept: Ledger | None = None) -> tuple[Trial, ...]:
        """Train the configurations in chunks that memory holds, and score each by the validation criterion.

        Chunks found in `kept` are not trained again; they are cut alike every time, so that scores have the same bits.
        """
        kept = Ledger(None) if kept is None else kept
        cause = self.cause(seed=seed) if kept.folder else {}
        largest = max(self.train, self.val, key=lambda data: data.size)
        chunks = [[dict(config) for config in configs[part]] for part in together(self.recipe.problem, largest, len(configs), chosen=True)]
        known = [kept.get(cause | {"configs": chunk}) for chunk in chunks]
        missing = [{"hyper": self.space.relax_all(chunk), "seed": seed} for chunk, trials in zip(chunks, known, strict=True) if trials is None]
        fresh = self.engine(scored, {"objective": self}, missing)
        found: list[Trial] = []
        for chunk, trials in zip(chunks, known, strict=True):
            if trials is None:
                trials = [trial._asdict() for trial in collected(chunk, *next(fresh))]
                kept.put(cause | {"configs": chunk}, trials)
            found += [Trial(**trial) for trial in trials]
        return tuple(found)

    def identity(self) -> dict[str, Any]:
        """What scores depend on, as plain JSON: hash of the data, recipe, space.

        The problem of the recipe stands there as its `repr`, which for a dataclass says all. Of a module it does not: it stands
        there by what it computes as well (`ModuleProblem.behaviour`).
        """
        parts = {"train": self.train, "val": self.val}
        data = digest((f"{part}.{key}", value) for part, data in parts.items() for key, value in data.tensors().items())
        facts = {"data": data, "recipe": repr(self.recipe), "space": space_to_card(self.space)}
        problem = self.recipe.problem
        return json.loads(json.dumps(facts | ({"behaviour": problem.behaviour(self.train, self.val)} if isinstance(problem, ModuleProblem) else {})))

    def cause(self, **more: Any) -> dict[str, Any]:
        """What the bits of a result that is kept depend on: `identity`, the versions and device that compute, and `more`."""
        return {"objective": self.identity(), "versions": numerics(), **more}

    def scores(self, hyper: Hyper, seed: int) -> tuple[Tensor, Params]:
        """(criterion [B], trained parameters) of the points of a batched `hyper`."""
        params = self.recipe.fit(hyper, self.train, seed=seed)
        return self.judged(params, hyper), params

    def judged(self, params: Params, hyper: Hyper) -> Tensor:
        """The validation criterion [B] at `params`, trained or on their way."""
        with torch.no_grad():
            return values(lambda p, h: self.recipe.problem.outer(p, h, self.val), params, hyper)

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
    """One trial a configuration, `seconds` shared evenly; what diverged has the score `WORST`."""
    share = seconds / len(configs)
    return tuple(Trial(dict(config), float(score), share) for config, score in zip(configs, bounded(scores), strict=True))


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Best first; those that were pruned after all that were not."""
    return sorted(trials, key=lambda trial: (trial.pruned, trial.score))


class Searcher(Protocol):
    """An algorithm that spends `trials` trainings and returns all of them.

    With a folder `checkpoint`, what is finished is kept below it as it comes, and a run that was interrupted, called
    again with the same arguments, goes on from there.
    """

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]: ...


def check_trials(trials: int) -> None:
    if trials < 1:
        raise InputError("trials", trials, "must be at least 1", "ask for one trial or more")
