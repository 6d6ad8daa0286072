"""Inner solvers: train a batch of models at once, one hyperparameter point each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.func import vmap

from hcdc._tensors import TensorDict, batch_size, expand
from hcdc._typing import Hyper, Params
from hcdc.bilevel.problem import Bilevel, Stochastic
from hcdc.errors import InputError


@dataclass(frozen=True)
class Adam:
    """`steps` steps of Adam (Kingma and Ba 2015) at `lr`, on batches of `batch_size` examples (None: all of them).

    A `Stochastic` problem is trained under its noise. The weight decay belongs to `Bilevel.inner`, so that the Hessian
    of the implicit function theorem has it too.
    """

    steps: int = 200
    lr: float = 0.01
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0:
            raise InputError("steps, lr", (self.steps, self.lr), "must be positive", "raise them")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError("batch_size", self.batch_size, "must be at least 1", "leave it out to take all examples at once")


class Recipe(NamedTuple):
    """How a configuration is trained: the problem, regularisation and noise included, and the inner solver."""

    problem: Bilevel
    solver: Adam

    def fit(self, hyper: Hyper, data: Any, *, seed: int) -> Params:
        return fit(self.problem, hyper, data, self.solver, seed=seed)

    def training(self, hyper: Hyper, data: Any, *, seed: int, every: int, params: Params | None = None) -> Iterator[Params]:
        """`fit` in pieces: the parameters after each `every` steps, and after the last step.

        Moments, noise and mini-batches go on from one piece to the next, so that the last item has the bits of `fit`
        whatever `every` is; who has seen enough asks for no more.
        """
        if every < 1:
            raise InputError("every", every, "must be at least 1", "ask for pieces of one step or more")
        start = initialise(self.problem, hyper, seed) if params is None else params
        leaves: TensorDict = {key: value.detach().clone().requires_grad_() for key, value in start.items()}
        optimiser = torch.optim.Adam(leaves.values(), lr=self.solver.lr, fused=True)
        generator = torch.Generator().manual_seed(seed + 1)
        batches = _batches(data, self.solver, generator)
        for step in range(1, self.solver.steps + 1):
            batch = next(batches)
            optimiser.zero_grad(set_to_none=True)
            _losses(self.problem, leaves, hyper, batch, generator).sum().backward()
            optimiser.step()
            if step % every == 0 or step == self.solver.steps:
                # A copy: the optimiser goes on in the same memory.
                yield {key: value.detach().clone() for key, value in leaves.items()}


def initialise(problem: Bilevel, hyper: Hyper, seed: int) -> Params:
    """Parameters for each of the B points of `hyper`, from one seed: batched, the same draws for every member."""
    size = batch_size(hyper)
    one = {key: value[0] for key, value in hyper.items()}
    return expand(problem.init(one, torch.Generator().manual_seed(seed)), size)


def fit(problem: Bilevel, hyper: Hyper, data: Any, solver: Adam, *, seed: int, params: Params | None = None) -> Params:
    """Approximate argmin_theta inner(theta, lambda_b, data) for each of the B points of the batched `hyper`.

    Starts from `params` (batched) or from `initialise(problem, hyper, seed)`. Noise and mini-batches are drawn from
    `seed` once for all members (common random numbers), so a member's result does not depend on its neighbours
    beyond rounding.
    """
    return next(Recipe(problem, solver).training(hyper, data, seed=seed, every=solver.steps, params=params))


def _losses(problem: Bilevel, params: Params, hyper: Hyper, data: Any, generator: torch.Generator) -> torch.Tensor:
    if not isinstance(problem, Stochastic):
        return vmap(lambda p, h: problem.inner(p, h, data))(params, hyper)
    noise = problem.noise(data, generator)
    return vmap(lambda p, h: problem.noisy(p, h, data, noise))(params, hyper)


def _batches(data: Any, solver: Adam, generator: torch.Generator) -> Any:
    """Whole data for ever, or shuffled mini-batches of equal size, epoch after epoch."""
    if solver.batch_size is None or solver.batch_size >= data.size:
        while True:
            yield data
    while True:
        order = torch.randperm(data.size, generator=generator)
        for index in order[: data.size // solver.batch_size * solver.batch_size].split(solver.batch_size):
            yield data.take(index)
