"""Inner solvers: train a batch of models at once, one hyperparameter point each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeAlias

import torch
from torch import Tensor

from hcdc._tensors import TensorDict, batch_size, expand
from hcdc._typing import Hyper, Noise, Params
from hcdc.bilevel import recorded
from hcdc.bilevel.problem import Bilevel, Decayed, Stochastic, values
from hcdc.errors import InputError


@dataclass(frozen=True)
class Adam:
    """`steps` steps of Adam (Kingma and Ba 2015) at `lr`, on batches of `batch_size` examples (None: all of them).

    A `Stochastic` problem is trained under its noise. The weight decay belongs to `Bilevel.inner`, so that the Hessian
    of the implicit function theorem has it too; where it is a constant, training has it from the optimiser (`Decayed`).
    """

    steps: int = 200
    lr: float = 0.01
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _positive(self.steps, self.lr, self.batch_size)

    @property
    def limit(self) -> None:
        """Gradients are left as they are."""

    def optimiser(self, leaves: list[Tensor], decay: float = 0.0) -> torch.optim.Optimizer:
        return torch.optim.Adam(leaves, lr=self.lr, weight_decay=decay, fused=True)

    def rate(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class SGD:
    """`steps` steps of SGD with `momentum`, at lr falling to `last` along half a cosine: at step t of s the rate is
    last + (lr - last) (1 + cos(pi t / s)) / 2 (Loshchilov and Hutter 2017, without restarts).

    Gradients, each member's on its own, are scaled to a norm of `limit` where theirs is larger (None: never). The
    defaults are DC-BENCH's, whose rate falls epoch by epoch and whose weight decay enters after the clipping.
    """

    steps: int = 200
    lr: float = 0.025
    batch_size: int | None = 64
    last: float = 0.001
    momentum: float = 0.9
    limit: float | None = 5.0

    def __post_init__(self) -> None:
        _positive(self.steps, self.lr, self.batch_size)
        if not 0 <= self.last <= self.lr:
            raise InputError("last", self.last, f"must lie between 0 and lr = {self.lr}", "use lr for a constant rate")
        if not 0 <= self.momentum < 1:
            raise InputError("momentum", self.momentum, "must lie in [0, 1)", "use 0.9")
        if self.limit is not None and not self.limit > 0:
            raise InputError("limit", self.limit, "must be positive", "leave gradients as they are with None")

    @classmethod
    def lasting(cls, epochs: int, size: int, **settings: Any) -> Self:
        """As many steps as `epochs` passes through `size` examples take, a last short batch counted as one."""
        solver = cls(**settings)
        return replace(solver, steps=epochs * math.ceil(size / (solver.batch_size or size)))

    def optimiser(self, leaves: list[Tensor], decay: float = 0.0) -> torch.optim.Optimizer:
        return torch.optim.SGD(leaves, lr=self.lr, momentum=self.momentum, weight_decay=decay, fused=True)

    def rate(self, step: int) -> float:
        return self.last + (self.lr - self.last) * (1 + math.cos(math.pi * step / self.steps)) / 2


Solver: TypeAlias = Adam | SGD
Losses: TypeAlias = Callable[[TensorDict, Any, Noise], Tensor]
"""Of parameters, a batch and its noise: [B] for a batch of models, a scalar for one."""
Draws: TypeAlias = Callable[[Any, torch.Generator], Noise]
"""The noise of a batch."""


class Recipe(NamedTuple):
    """How a configuration is trained: the problem, regularisation and noise included, and the inner solver."""

    problem: Bilevel
    solver: Solver

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
        # Gradients are scaled with their decay, so that a limit wants it among them.
        decay = self.problem.fixed_decay() if isinstance(self.problem, Decayed) and self.solver.limit is None else 0.0

        def losses(leaves: TensorDict, batch: Any, noise: Noise) -> Tensor:
            return _losses(self.problem, leaves, hyper, batch, noise, penalised=not decay)

        draws = self.problem.noise if isinstance(self.problem, Stochastic) else no_noise
        yield from descending(losses, start, data, self.solver, seed=seed, every=every, decay=decay, draws=draws)


def initialise(problem: Bilevel, hyper: Hyper, seed: int) -> Params:
    """Parameters for each of the B points of `hyper`, from one seed: batched, the same draws for every member."""
    size = batch_size(hyper)
    one = {key: value[0] for key, value in hyper.items()}
    return expand(problem.init(one, torch.Generator().manual_seed(seed)), size)


def fit(problem: Bilevel, hyper: Hyper, data: Any, solver: Solver, *, seed: int, params: Params | None = None) -> Params:
    """Approximate argmin_theta inner(theta, lambda_b, data) for each of the B points of the batched `hyper`.

    Starts from `params` (batched) or from `initialise(problem, hyper, seed)`. Noise and mini-batches are drawn from
    `seed` once for all members (common random numbers), so a member's result does not depend on its neighbours
    beyond rounding.
    """
    return next(Recipe(problem, solver).training(hyper, data, seed=seed, every=solver.steps, params=params))


def no_noise(batch: Any, generator: torch.Generator) -> Noise:
    """Of what is trained without any."""
    return {}


def descend(losses: Losses, start: Params, data: Any, solver: Solver, *, seed: int, draws: Draws = no_noise) -> Params:
    """The parameters after `solver` has lowered the sum of `losses` from `start`, on batches drawn from `seed`."""
    return next(descending(losses, start, data, solver, seed=seed, every=solver.steps, draws=draws))


def descending(
    losses: Losses, start: Params, data: Any, solver: Solver, *, seed: int, every: int, decay: float = 0.0, draws: Draws = no_noise
) -> Iterator[Params]:
    """`descend` in pieces: the parameters after each `every` steps, and after the last step; `decay` / 2 ||theta||^2 is added
    to the losses by the optimiser. On a GPU steps are `Recorded`."""
    leaves: TensorDict = {key: value.detach().clone().requires_grad_() for key, value in start.items()}
    tensors = list(leaves.values())
    optimiser = solver.optimiser(tensors, decay)
    generator = torch.Generator().manual_seed(seed + 1)
    indices = _indices(data.size, solver, generator)

    def chosen(index: Tensor | None) -> Any:
        return data if index is None else data.take(index)

    def advance(batch: Any, noise: Noise) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = losses(leaves, batch, noise)
        loss.sum().backward()
        if solver.limit is not None:
            _clip(tensors, solver.limit, loss.numel())
        optimiser.step()

    record = None
    if recorded.recordable(tensors):
        recorded.prepare(optimiser)
        record = recorded.Recorded(lambda index, noise: advance(chosen(index), noise), solver.steps)
    for step in range(solver.steps):
        index = next(indices)
        batch = chosen(index)
        noise = draws(batch, generator)
        recorded.pace(optimiser, solver.rate(step))
        if record is None:
            advance(batch, noise)
        else:
            record(index, noise)
        if (step + 1) % every == 0 or step + 1 == solver.steps:
            # A copy: the optimiser goes on in the same memory.
            yield {key: value.detach().clone() for key, value in leaves.items()}


def _clip(leaves: list[Tensor], limit: float, size: int) -> None:
    """Scale the gradients of each of `size` members to a joint norm of at most `limit`."""
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    squares = torch.stack([gradient.square().reshape(size, -1).sum(1) for gradient in gradients]).sum(0)
    scale = (limit * squares.clamp_min(torch.finfo(squares.dtype).tiny).rsqrt()).clamp_max(1)
    for gradient in gradients:
        gradient.mul_(scale.reshape(-1, *[1] * (gradient.ndim - 1)) if size > 1 else scale.squeeze())


def _positive(steps: int, lr: float, batch_size: int | None) -> None:
    if steps < 1 or not 0 < lr < math.inf:
        raise InputError("steps, lr", (steps, lr), "must be positive", "raise them")
    if batch_size is not None and batch_size < 1:
        raise InputError("batch_size", batch_size, "must be at least 1", "leave it out to take all examples at once")


def _losses(problem: Bilevel, params: Params, hyper: Hyper, data: Any, noise: Noise, *, penalised: bool) -> torch.Tensor:
    if not isinstance(problem, Stochastic):
        return values(lambda p, h: problem.inner(p, h, data), params, hyper)
    loss = problem.noisy if penalised or not isinstance(problem, Decayed) else problem.undecayed
    return values(lambda p, h: loss(p, h, data, noise), params, hyper)


def _indices(size: int, solver: Solver, generator: torch.Generator) -> Iterator[Tensor | None]:
    """None, the whole data, for ever, or the places of shuffled mini-batches of equal size, epoch after epoch."""
    if solver.batch_size is None or solver.batch_size >= size:
        while True:
            yield None
    while True:
        order = torch.randperm(size, generator=generator)
        yield from order[: size // solver.batch_size * solver.batch_size].split(solver.batch_size)
