"""A few trainings on the full data, by which S_train and the length of training on it are chosen."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hcdc._tensors import batch_size, stack, take
from hcdc._typing import Hyper, Params
from hcdc.bilevel import Adam, Recipe, readings, together
from hcdc.condense.calibration import correlation
from hcdc.condense.coreset import CENTROIDS, Coreset
from hcdc.condense.hcdc import HCDC
from hcdc.condense.task import Condenser, Task
from hcdc.errors import InputError
from hcdc.store import Ledger, numerics

LENGTHS = (1, 2, 4, 8)
"""Lengths of training that are tried, in eighths of the steps of the task."""
NOWHERE = Ledger(None)


class Tried(NamedTuple):
    """Rank correlation of the real validation losses after `steps` steps on the S_train of `train` with those on the full data."""

    train: str
    steps: int
    spearman: float


class Choice(NamedTuple):
    """What a pilot chose, all that it tried, and the seconds that it took."""

    task: Task
    method: HCDC
    tried: tuple[Tried, ...]
    seconds: float


@dataclass(frozen=True)
class Pilot:
    """Trains `configs` configurations on the full data and on each S_train of `trains`, and takes the best pair of S_train and
    number of steps.

    Good is the rank correlation of the losses on the real validation data, which bounds what any S_val can reach. A few
    dozen examples overfit within steps that the full data still learns in, and regularisation then ranks the other way
    round. Whatever is within a standard error of the best (`within`) counts as equal to it: of these the longest training is
    taken, which is nearest to the optimum that implicit differentiation assumes, and of equally long ones the first of
    `trains`. Empty `trains` keep the S_train of the method; `lengths=False` keeps the steps of the task.
    """

    configs: int = 16
    trains: tuple[Coreset, ...] = (CENTROIDS, Coreset(label="examples"))
    lengths: bool = True

    def __post_init__(self) -> None:
        if self.configs < 4:
            raise InputError("pilot", self.configs, "must be at least 4 for a ranking", "ask for 4 or more, or for 0 to do without")

    def __call__(self, task: Task, method: HCDC, ledger: Ledger = NOWHERE) -> Choice:
        """`task` and `method` with what was chosen; what is tried is kept in `ledger`, whose folder is of this data alone."""
        makers = self.trains or (method.train,)
        cause = {"pilot": repr(self), "trains": repr(makers), "task": task.identity(), "versions": numerics()} if ledger.folder else {}
        found = ledger.kept(cause, lambda: self._measured(task, makers))
        tried = [(Tried(makers[number].name, steps, spearman), makers[number]) for number, steps, spearman in found["tried"]]
        least = within(max(each.spearman for each, _ in tried), self.configs)
        chosen, maker = max(((each, maker) for each, maker in tried if each.spearman >= least), key=lambda pair: pair[0].steps)
        solver = replace(task.condensed.solver, steps=chosen.steps)
        mended = replace(task, condensed=task.condensed._replace(solver=solver))
        return Choice(mended, replace(method, train=maker), tuple(each for each, _ in tried), found["seconds"])

    def _measured(self, task: Task, makers: Sequence[Condenser]) -> dict[str, Any]:
        """Triples (which of `makers`, steps, rank correlation), and the seconds that they took."""
        began = time.perf_counter()
        generator = task.generator(21)
        hyper = stack([task.space.relax(task.space.sample(generator)) for _ in range(self.configs)])
        truth = torch.cat([_losses(task, params, some) for params, some in _trained(task, task.full, task.real.train, hyper)])
        tried = [(number, *pair) for number, maker in enumerate(makers) for pair in self._tried(task, maker, hyper, truth).items()]
        return {"tried": tried, "seconds": time.perf_counter() - began}

    def tries(self, task: Task) -> list[int]:
        """Steps after which a training on an S_train is looked at; multiples of the first, no more than the task's."""
        steps = task.condensed.solver.steps
        return [max(1, steps // 8) * length for length in LENGTHS if max(1, steps // 8) * length <= steps] if self.lengths else [steps]

    def _tried(self, task: Task, maker: Condenser, hyper: Hyper, truth: Tensor) -> dict[int, float]:
        """Rank correlation by the number of steps."""
        state = maker.init(task)
        for number in range(maker.length()):
            state, _ = maker.step(task, state, number)
        train = maker.extract(task, state)[0]
        lengths = self.tries(task)
        recipe = task.condensed._replace(solver=replace(task.condensed.solver, steps=lengths[-1]))
        losses: dict[int, list[Tensor]] = {length: [] for length in lengths}
        for part in together(recipe.problem, task.real.val, batch_size(hyper)):
            some = take(hyper, part)
            for steps, params in _after(recipe, some, train, lengths, task.seed):
                losses[steps].append(_losses(task, params, some))
        return {length: float(correlation(_ranks(torch.cat(parts)), _ranks(truth))) for length, parts in losses.items()}


def within(best: float, count: int) -> float:
    """The correlation a standard error below `best`, of `count` pairs: tanh(artanh(best) - 1 / sqrt(count - 3)) (Fisher 1915)."""
    return math.tanh(math.atanh(min(max(best, -0.999), 0.999)) - (count - 3) ** -0.5)


def _trained(task: Task, recipe: Recipe, data: Any, hyper: Hyper) -> Iterator[tuple[Params, Hyper]]:
    """Parameters and points, as many at once as memory holds."""
    for part in together(recipe.problem, max((data, task.real.val), key=lambda each: each.size), batch_size(hyper)):
        some = take(hyper, part)
        yield recipe.fit(some, data, seed=task.seed), some


def _after(recipe: Recipe, hyper: Hyper, train: Any, lengths: Sequence[int], seed: int) -> Iterator[tuple[int, Params]]:
    """(steps, parameters) after trainings of `lengths` steps, multiples of the first: of one training where the rate is constant,
    of one each where it falls to the end."""
    if not isinstance(recipe.solver, Adam):
        for steps in lengths:
            yield steps, recipe._replace(solver=replace(recipe.solver, steps=steps)).fit(hyper, train, seed=seed)
        return
    for number, params in enumerate(recipe.training(hyper, train, seed=seed, every=lengths[0]), 1):
        if lengths[0] * number in lengths:
            yield lengths[0] * number, params


@torch.no_grad()
def _losses(task: Task, params: Params, hyper: Hyper) -> Tensor:
    """On the real validation data [B]; what is not finite is worst."""
    return readings(task.full.problem, params, hyper, task.real.val)["loss"].nan_to_num(nan=torch.inf)


def _ranks(values: Tensor) -> Tensor:
    """Equal values, as those of models that diverged are, share the mean of their ranks."""
    from scipy.stats import rankdata  # here, since loading it takes most of a second

    return torch.from_numpy(rankdata(values.cpu().numpy()))
