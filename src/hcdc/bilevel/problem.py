"""The bilevel problem that a model, its loss and its data make together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch.func import vmap

from hcdc._tensors import batch_size
from hcdc._typing import Hyper, Noise, Params


class Bilevel(Protocol):
    """theta*(lambda) = argmin_theta inner(theta, lambda, train); find lambda that minimises outer(theta*, lambda, val).

    Both losses are scalars, twice differentiable, pure (no state, no random numbers of their own) and, like `init`,
    made of `torch` operations that `torch.func.vmap` can batch.
    """

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params: ...
    def inner(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        """The training objective, regularisation included, without its noise."""
        ...

    def outer(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        """The validation criterion, lower is better."""
        ...


@runtime_checkable
class Stochastic(Protocol):
    """A problem trained under noise (dropout, augmentation), drawn outside of the loss so that the loss stays pure."""

    def noise(self, data: Any, generator: torch.Generator) -> Noise:
        """One draw; one draw serves every member of a batch of models (common random numbers)."""
        ...

    def noisy(self, params: Params, hyper: Hyper, data: Any, noise: Noise) -> Tensor:
        """The inner objective under `noise`."""
        ...


@runtime_checkable
class Decayed(Stochastic, Protocol):
    """A problem that may have a weight decay which no hyperparameter sets: training leaves it to the optimiser, which adds
    decay * theta to the gradient at a fraction of what differentiating the penalty costs."""

    def fixed_decay(self) -> float:
        """The decay, where the objective is `undecayed` + decay / 2 ||theta||^2 over all parameters; 0 where it is not."""
        ...

    def undecayed(self, params: Params, hyper: Hyper, data: Any, noise: Noise) -> Tensor:
        """The inner objective under `noise`, without its penalty."""
        ...


@runtime_checkable
class Scored(Protocol):
    """A problem whose models can be judged by more than the outer criterion."""

    def metrics(self, params: Params, hyper: Hyper, data: Any) -> dict[str, Tensor]:
        """Scalars by name, at least "loss" (lower is better) and "accuracy" (higher is better); "criterion", the value of
        `outer`, where it costs no forward pass of its own."""
        ...


@runtime_checkable
class Weighed(Protocol):
    """A problem that knows what it weighs, so that as many models are worked on at once as memory allows."""

    def footprint(self, data: Any) -> int:
        """Bytes that the forward and backward pass of one model on `data` keeps alive, an estimate."""
        ...


@runtime_checkable
class Sparing(Protocol):
    """A problem whose model of one configuration, trained alone, may leave out what the configuration did not choose."""

    def spares(self) -> bool:
        """Whether it has choices to leave anything out."""
        ...


@runtime_checkable
class Spanned(Protocol):
    """A problem that reads inputs X [n, d] in products X W with parameters W [..., d, h] alone. Beside a fixed decay, the
    derivatives of its training loss in W then lie in the span of the n rows of X, and so does d W / d lambda."""

    def spanned(self, data: Any) -> tuple[Bilevel, Any, Params] | None:
        """(the problem, the data, {W: Q}) with inputs X Q and parameters Q^T W in the place of X and W, of the same training loss
        but for a constant; Q [d, r] is an orthonormal basis of that span. None where this would spare little, or not hold."""
        ...


def within(tensors: Params, basis: Params) -> Params:
    """Q^T W of those of `tensors` [..., d, h] that have a Q in `basis`."""
    return {name: basis[name].mT @ value if name in basis else value for name, value in tensors.items()}


def judged(problem: Bilevel, params: Params, hyper: Hyper, data: Any) -> dict[str, Tensor]:
    """What `problem` says of one model on `data`: its metrics, or "loss" alone where it has none, and "criterion"."""
    if not isinstance(problem, Scored):
        value = problem.outer(params, hyper, data)
        return {"loss": value, "criterion": value}
    found = problem.metrics(params, hyper, data)
    return found if "criterion" in found else found | {"criterion": problem.outer(params, hyper, data)}


Loss: TypeAlias = Callable[[Params, Hyper], Tensor]
"""Of one model: a scalar."""
Readings: TypeAlias = Callable[[Params, Hyper], dict[str, Tensor]]
"""Of one model: scalars by name."""


def each(readings: Readings, params: Params, hyper: Hyper) -> dict[str, Tensor]:
    """The readings of each of B models, [B] by name. One model alone is spared the batching, which costs it time
    and hides from it which of its options have no weight."""
    if batch_size(params) == 1:
        # Squeezed and not indexed: the backward pass of an index copies into zeros.
        alone = [{key: value.squeeze(0) for key, value in group.items()} for group in (params, hyper)]
        return {key: value.reshape(1) for key, value in readings(*alone).items()}
    return vmap(readings)(params, hyper)


def values(loss: Loss, params: Params, hyper: Hyper) -> Tensor:
    """The loss [B] of each of B models, as `each` takes them."""
    return each(lambda p, h: {"loss": loss(p, h)}, params, hyper)["loss"]


def readings(problem: Bilevel, params: Params, hyper: Hyper, data: Any) -> dict[str, Tensor]:
    """What is `judged` of a batch of models on `data`, each [B], differentiable."""
    return each(lambda p, h: judged(problem, p, h, data), params, hyper)


WORST = 1e30
"""The loss or score of a training that ended in numbers that are not finite, and the largest that any is given."""


def bounded(score: Tensor) -> Tensor:
    """`score`, lower is better, with `WORST` where it is no number or larger than that."""
    return score.nan_to_num(nan=WORST, posinf=WORST).clamp_max(WORST)


MEMORY = 2**31
"""Bytes that a batch of models may keep alive."""

TOGETHER = 40
"""Models at once where memory allows more: beyond, batching gains little. It is also the largest share of one worker."""


def together(problem: Bilevel, data: Any, count: int, memory: int = MEMORY, *, chosen: bool = False) -> list[slice]:
    """`count` models in even slices, as few as may be, of no more than `memory` holds nor than `TOGETHER`; a problem that
    does not know its weight is taken to be light. Models of configurations, of which every choice is `chosen`, come one by
    one where they are too heavy for `TOGETHER` and a `Sparing` problem makes each of them lighter alone."""
    width = TOGETHER
    if isinstance(problem, Weighed):
        width = max(1, min(TOGETHER, memory // max(problem.footprint(data), 1)))
        if chosen and width < TOGETHER and isinstance(problem, Sparing) and problem.spares():
            width = 1
    parts = -(-count // width)
    return [slice(part * count // parts, (part + 1) * count // parts) for part in range(parts)]
