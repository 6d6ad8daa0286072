"""Gradients of a loss and products with its second derivatives, for a batch of models at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from hcdc._tensors import batch_size, ravel
from hcdc._typing import Hyper, Params
from hcdc.bilevel.problem import Bilevel, Decayed, Loss, Readings, each


class Gradients(NamedTuple):
    """`value` [B] of a loss, and its gradients by `params` and by `hyper`, batched as these are; `read` names the
    hyperparameters that the loss depends on at all."""

    value: Tensor
    params: Params
    hyper: Hyper
    read: frozenset[str]


def gradients(loss: Loss, params: Params, hyper: Hyper) -> Gradients:
    """Value and gradients of `loss` at each of B points.

    A member's loss does not depend on the others, so that these are the gradients of the sum. Where gradients are
    enabled they can be differentiated again, in whatever else `loss` reads.
    """
    return gradients_of("loss", lambda p, h: {"loss": loss(p, h)}, params, hyper)[0]


def gradients_of(name: str, readings: Readings, params: Params, hyper: Hyper) -> tuple[Gradients, dict[str, Tensor]]:
    """`gradients` of the reading `name`, and all `readings` [B] of the same forward pass."""
    again, theta, point = torch.is_grad_enabled(), _watched(params), _watched(hyper)
    with torch.enable_grad():
        values = each(readings, theta, point)
        value = values[name]
        found = pulled([value], [*theta.values(), *point.values()], [torch.ones_like(value)], create_graph=again)
    by_params, by_hyper = dict(zip(theta, found, strict=False)), dict(zip(point, found[len(theta) :], strict=True))
    values = values if again else {key: reading.detach() for key, reading in values.items()}
    return Gradients(values[name], by_params, by_hyper, read(value, point)), values


def read(value: Tensor, leaves: dict[str, Tensor]) -> frozenset[str]:
    """Names of the `leaves` that `value` was computed from, found in its graph without a pass through it."""
    seen, waiting, found = set[Any](), [value.grad_fn], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [parent for parent, _ in node.next_functions]
        found.add(id(getattr(node, "variable", None)))
    return frozenset(key for key, leaf in leaves.items() if id(leaf) in found)


class SecondOrder(NamedTuple):
    """Products with the second derivatives of the inner objective at B points; the graph is built once and reused."""

    hessian: Callable[[Tensor], Tensor]
    """[B, P] -> [B, P]: (H + damping I) v."""
    mixed: Callable[[Tensor], Tensor]
    """[B, P] -> [B, k]: M v."""
    mixed_transposed: Callable[[Hyper], Tensor]
    """batched hyper -> [B, P]: M^T u."""
    read: frozenset[str]
    """The hyperparameters that the objective depends on."""

    @classmethod
    def at(cls, problem: Bilevel, params: Params, hyper: Hyper, train: Any, damping: float = 0.0) -> SecondOrder:
        """Every product is one backward pass through the graph of the gradient; of one point, that has no batch. A fixed
        decay (`Decayed`) adds to the damping and not to the graph.

        M^T u has no such pass of its own: v -> M v is linear, and M^T u is its derivative in v, at any v (here 0).
        """
        size = batch_size(params)
        lead = () if size == 1 else (size,)
        theta, point = (
            {key: value.detach().reshape(*lead, *value.shape[1:]).requires_grad_() for key, value in group.items()} for group in (params, hyper)
        )
        by_theta, by_point = list(theta.values()), list(point.values())
        counts = [leaf.numel() // size for leaf in by_theta]

        decay = problem.fixed_decay() if isinstance(problem, Decayed) else 0.0
        shift = damping + decay

        def loss(t: Params, h: Hyper) -> Tensor:
            return problem.undecayed(t, h, train, {}) if decay and isinstance(problem, Decayed) else problem.inner(t, h, train)

        def along(vector: Tensor) -> list[Tensor]:
            return [part.reshape(leaf.shape) for part, leaf in zip(vector.split_with_sizes(counts, 1), by_theta, strict=True)]

        with torch.enable_grad():
            value = vmap(loss)(theta, point) if lead else loss(theta, point)
            slope = pulled([value], by_theta, [torch.ones_like(value)], create_graph=True)

        def hessian(vector: Tensor) -> Tensor:
            image = _flat(pulled(slope, by_theta, along(vector)), size)
            return image.add_(vector, alpha=shift) if shift else image

        def mixed(vector: Tensor) -> Tensor:
            return _flat(pulled(slope, by_point, along(vector)), size)

        @cache
        def linear() -> tuple[Tensor, list[Tensor]]:
            """v, and M v as a function of it."""
            with torch.enable_grad():
                vector = torch.zeros_like(ravel(params)).requires_grad_()
                return vector, pulled(slope, by_point, along(vector), create_graph=True)

        def mixed_transposed(tangent: Hyper) -> Tensor:
            vector, image = linear()
            return pulled(image, [vector], [tangent[key].reshape(leaf.shape) for key, leaf in point.items()])[0]

        return cls(hessian, mixed, mixed_transposed, read(value, point))


def pulled(outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor], *, create_graph: bool = False) -> list[Tensor]:
    """sum_i cotangent_i^T d output_i / d input_j for each input j, zeros where nothing depends on it; the graph stays."""
    pairs = [(output, cotangent) for output, cotangent in zip(outputs, cotangents, strict=True) if output.requires_grad]
    if not pairs:
        return [torch.zeros_like(each) for each in inputs]
    ends, starts = zip(*pairs, strict=True)
    found = torch.autograd.grad(ends, inputs, starts, retain_graph=True, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(at) if slope is None else slope for at, slope in zip(inputs, found, strict=True)]


def _watched(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value if value.requires_grad else value.detach().requires_grad_() for key, value in tensors.items()}


def _flat(parts: list[Tensor], size: int) -> Tensor:
    """[size, ...] each, or [...] where `size` is 1 -> [size, sum of their sizes]."""
    return torch.cat([part.reshape(size, -1) for part in parts], 1)
