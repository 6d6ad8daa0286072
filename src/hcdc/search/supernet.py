"""A supernet: one network with every option of every choice, trained together with weights over the options."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import TensorDict, as_leaves, generator_for
from hcdc._typing import Config, Hyper
from hcdc.bilevel import Solver, Stochastic, hypergradient, stepped
from hcdc.data import GraphData
from hcdc.errors import InputError, SpaceError
from hcdc.search.base import Objective, Trial, check_trials
from hcdc.spaces import Space
from hcdc.store import Checkpoint, Groups, Ledger

Order = Literal["first", "implicit"]
OPEN = -1
"""Of a choice that is not made yet."""


@dataclass(frozen=True)
class Architect:
    """How weights over options are learned (Liu et al. 2019): alpha, whose softmax they are, by Adam on the validation criterion
    with `lr`, `betas` and weight `decay`; the network by `solver` on the training loss (None: as the objective trains).

    A step of alpha comes before each of the network, on batches of one size. Its gradient is taken at the weights of the
    network as they are ("first" order), or includes how these answer, by the objective's `adjoint` ("implicit").
    The published budget is `SGD.lasting(50, size)`, with batches of 64 at 0.025.
    """

    solver: Solver | None = None
    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    decay: float = 1e-3
    order: Order = "first"

    def __post_init__(self) -> None:
        if not self.lr > 0 or self.decay < 0:
            raise InputError("lr, decay", (self.lr, self.decay), "lr must be positive, decay not negative", "use 3e-4 and 1e-3, as Liu et al. do")
        if self.order not in ("first", "implicit"):
            raise InputError("order", self.order, "must be first or implicit", "choose one of these")


class Edge(NamedTuple):
    """One choice: row `row` of the hyperparameter tensor `group`."""

    group: str
    row: int


def edges_of(space: Space, algorithm: str) -> list[Edge]:
    """Every choice of `space`; `SpaceError` where there is none."""
    found = [Edge(group, row) for group, shape in space.shapes().items() if len(shape) == 2 for row in range(shape[0])]
    if not found:
        rule = f"{algorithm} weighs the options of choices, and there is none among these axes"
        raise SpaceError("space", list(space.axes), rule, "take hypergradient, random or an algorithm of Optuna")
    return found


@dataclass(frozen=True)
class Supernet:
    """A supernet on the data of `objective`, drawn from `seed`: numeric axes stay where a random configuration has them.

    A state is tensors: "weights" of the network, "alpha" [choices, options] a group, "made" [choices] the option that a
    choice has been given, or `OPEN`, and the moments of both optimisers. A step is a pure function of state and number,
    so that a search goes on, from any of them, to the same bits.
    """

    objective: Objective
    architect: Architect
    seed: int

    @property
    def solver(self) -> Solver:
        return self.architect.solver or self.objective.recipe.solver

    def held(self) -> Hyper:
        """The point at which numeric axes are held."""
        return self.objective.space.relax_all(self.objective.space.configs(1, self.seed))

    def start(self) -> Groups:
        held = {key: value[0] for key, value in self.held().items()}
        generator = generator_for(self.seed, 1)
        alpha = {key: 1e-3 * torch.randn(value.shape, generator=generator) for key, value in held.items() if value.ndim == 2}
        made = {key: torch.full((value.shape[0],), OPEN) for key, value in alpha.items()}
        weights = self.objective.recipe.problem.init(held | weighed(alpha, made), torch.Generator().manual_seed(self.seed))
        return {"weights": weights, "alpha": alpha, "made": made, "weights.moments": {}, "alpha.moments": {}}

    def hyper(self, state: Groups) -> Hyper:
        """The point of the relaxed space where `state` is."""
        return {key: value[0] for key, value in self.held().items()} | weighed(state["alpha"], state["made"])

    def config(self, state: Groups) -> dict[str, float | int | str]:
        """The heaviest option of every choice."""
        return self.objective.space.round(self.hyper(state))

    def step(self, state: Groups, number: int, rate: float | None = None) -> Groups:
        """One step of alpha, then one of the network, at `rate` (None: that of the solver at `number`)."""
        goal = self.objective
        train, val = (self.batch(data, number, salt) for salt, data in ((2, goal.train), (3, goal.val)))
        slopes = self.slopes(state, train, val)
        alpha, alpha_moments = stepped(state["alpha"], slopes, state["alpha.moments"], self._adam, dict.fromkeys(slopes, self.architect.lr))
        state = state | {"alpha": alpha, "alpha.moments": alpha_moments}
        gradients = self.descent(state, train, number)
        pace = self.solver.rate(number) if rate is None else rate
        weights, moments = stepped(state["weights"], gradients, state["weights.moments"], self.solver.optimiser, dict.fromkeys(gradients, pace))
        return state | {"weights": weights, "weights.moments": moments}

    def share(self, data: Any) -> int:
        """How many examples of `data` a batch of the solver has; a graph, whose nodes need each other, is one batch."""
        return data.size if isinstance(data, GraphData) else min(self.solver.batch_size or data.size, data.size)

    def batch(self, data: Any, number: int, salt: int) -> Any:
        """A batch of the solver, every example once an epoch but for a short last batch."""
        size = self.share(data)
        if size == data.size:
            return data
        epoch, place = divmod(number, data.size // size)
        order = torch.randperm(data.size, generator=generator_for(self.seed, salt, epoch))
        return data.take(order[place * size : (place + 1) * size])

    def slopes(self, state: Groups, train: Any, val: Any) -> TensorDict:
        """The gradient of the validation criterion with respect to alpha, 0 where it is not finite."""
        goal, alpha = self.objective, as_leaves(state["alpha"])
        hyper = self.hyper(state | {"alpha": alpha})
        if self.architect.order == "implicit":
            point = {key: value.detach() for key, value in hyper.items()}
            found, _ = hypergradient(goal.recipe.problem, state["weights"], point, train, val, adjoint=goal.adjoint, throw=False)
            outputs, slopes = [hyper[key] for key in alpha], [found[key] for key in alpha]
        else:
            outputs, slopes = [goal.recipe.problem.outer(state["weights"], hyper, val)], None
        gradients = torch.autograd.grad(outputs, list(alpha.values()), slopes, allow_unused=True, materialize_grads=True)
        return {key: value.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) for key, value in zip(alpha, gradients, strict=True)}

    def descent(self, state: Groups, train: Any, number: int) -> TensorDict:
        """The gradient of the training loss, scaled to the limit of the solver."""
        problem, hyper = self.objective.recipe.problem, self.hyper(state)
        weights = as_leaves(state["weights"])
        if isinstance(problem, Stochastic):
            loss = problem.noisy(weights, hyper, train, problem.noise(train, generator_for(self.seed, 4, number)))
        else:
            loss = problem.inner(weights, hyper, train)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        scale = 1.0 if self.solver.limit is None else (self.solver.limit / norm.clamp_min(1e-12)).clamp_max(1)
        return {key: scale * gradient for key, gradient in zip(weights, gradients, strict=True)}

    def _adam(self, leaves: list[Tensor]) -> torch.optim.Optimizer:
        made = self.architect
        return torch.optim.Adam(leaves, lr=made.lr, betas=made.betas, weight_decay=made.decay)


def weighed(alpha: TensorDict, made: TensorDict) -> Hyper:
    """The softmax of `alpha`, one-hot where a choice is `made`."""

    def one(logits: Tensor, given: Tensor) -> Tensor:
        fixed = functional.one_hot(given.clamp_min(0), logits.shape[-1]).to(logits)
        return torch.where((given == OPEN).unsqueeze(-1), logits.softmax(-1), fixed)

    return {key: one(logits, made[key]) for key, logits in alpha.items()}


Search = Callable[[Supernet, Callable[[Callable[[Groups, int], Groups], int], Groups]], Config]
"""Of a supernet and of what drives it, from its start, by a step for so many steps: the configuration that is found."""


def searched(search: Search, architect: Architect, objective: Objective, trials: int, seed: int, checkpoint: Path | None) -> tuple[Trial, ...]:
    """`trials` searches, each from a seed of its own, and the trainings of what they found.

    What a search took is on the bill of its trial. A search that is under way is kept in the folder "supernet".
    """
    check_trials(trials)
    kept, seconds, configs = Ledger(checkpoint), list[float](), list[Config]()
    for number in range(trials):
        net = Supernet(objective, architect, generator_for(seed, number).initial_seed())
        # The search itself, its settings among them, is a part of what the result depends on.
        known = {"search": repr(search), "architect": repr(architect), "adjoint": repr(objective.adjoint)}
        cause = objective.cause(seed=net.seed, **known) if checkpoint else {}
        found = kept.kept(cause, lambda net=net, cause=cause: _one(search, net, checkpoint, cause))
        seconds.append(found["seconds"])
        configs.append(found["config"])
    trained = objective.trials(configs, seed, kept)
    return tuple(trial._replace(seconds=trial.seconds + spent) for trial, spent in zip(trained, seconds, strict=True))


def _one(search: Search, net: Supernet, folder: Path | None, cause: dict[str, Any]) -> dict[str, Any]:
    """{"config", "seconds"} of one search, resumed where its state was kept."""
    began, before = time.perf_counter(), 0.0
    checkpoint = None if folder is None else Checkpoint(folder / "supernet")

    def drive(step: Callable[[Groups, int], Groups], steps: int) -> Groups:
        nonlocal before
        first, state = 0, net.start()
        if checkpoint is not None and checkpoint.exists:
            number, groups, facts = checkpoint.load()
            if facts["cause"] == cause:
                first, state, before = number, groups, facts["seconds"]
        for number in range(first, steps):
            state = step(state, number)
            if checkpoint is not None and checkpoint.due():
                checkpoint.save(number + 1, state, {"cause": cause, "seconds": before + time.perf_counter() - began})
        return state

    config = search(net, drive)
    if checkpoint is not None:
        checkpoint.remove()
    return {"config": dict(config), "seconds": before + time.perf_counter() - began}
