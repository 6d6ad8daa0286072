"""Gradients of a loss and products with its second derivatives, for a batch of models at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.func import vmap

from hcdc._tensors import batch_size, unravel
from hcdc._typing import Hyper, Params
from hcdc.bilevel.problem import Bilevel

Loss: TypeAlias = Callable[[Params, Hyper], Tensor]
"""Of one model: a scalar."""


class Gradients(NamedTuple):
    """`value` [B] of a loss, and its gradients by `params` and by `hyper`, batched as these are."""

    value: Tensor
    params: Params
    hyper: Hyper


def each(loss: Loss, params: Params, hyper: Hyper) -> Tensor:
    """The loss of each of B models: [B]. One model alone is spared the batching, which costs it time."""
    if batch_size(params) == 1:
        # Squeezed and not indexed: the backward pass of an index copies into zeros.
        alone = [{key: value.squeeze(0) for key, value in group.items()} for group in (params, hyper)]
        return loss(*alone).reshape(1)
    return vmap(loss)(params, hyper)


def gradients(loss: Loss, params: Params, hyper: Hyper) -> Gradients:
    """Value and gradients of `loss` at each of B points.

    A member's loss does not depend on the others, so that these are the gradients of the sum. Where gradients are
    enabled they can be differentiated again, in whatever else `loss` reads.
    """
    again, theta, point = torch.is_grad_enabled(), _watched(params), _watched(hyper)
    with torch.enable_grad():
        value = each(loss, theta, point)
        found = pulled([value], [*theta.values(), *point.values()], [torch.ones_like(value)], create_graph=again)
    by_params, by_hyper = dict(zip(theta, found, strict=False)), dict(zip(point, found[len(theta) :], strict=True))
    return Gradients(value if again else value.detach(), by_params, by_hyper)


class SecondOrder(NamedTuple):
    """Products with the second derivatives of the inner objective at B points; the graph is built once and reused."""

    hessian: Callable[[Tensor], Tensor]
    """[B, P] -> [B, P]: (H + damping I) v."""
    mixed: Callable[[Tensor], Tensor]
    """[B, P] -> [B, k]: M v."""
    mixed_transposed: Callable[[Hyper], Tensor]
    """batched hyper -> [B, P]: M^T u."""

    @classmethod
    def at(cls, problem: Bilevel, params: Params, hyper: Hyper, train: Any, damping: float = 0.0) -> SecondOrder:
        """Every product is one backward pass through the graph of the gradient.

        M^T u has no such pass of its own: v -> M v is linear, and M^T u is its derivative in v, at any v (here 0).
        """
        theta, point = _watched(params), _watched(hyper)
        by_theta, by_point = list(theta.values()), list(point.values())
        with torch.enable_grad():
            value = each(lambda p, h: problem.inner(p, h, train), theta, point)
            slope = pulled([value], by_theta, [torch.ones_like(value)], create_graph=True)

        def hessian(vector: Tensor) -> Tensor:
            image = _flat(pulled(slope, by_theta, list(unravel(vector, params).values())))
            return image + damping * vector if damping else image

        def mixed(vector: Tensor) -> Tensor:
            return _flat(pulled(slope, by_point, list(unravel(vector, params).values())))

        @cache
        def linear() -> tuple[list[Tensor], list[Tensor]]:
            """v, and M v as a function of it."""
            with torch.enable_grad():
                vector = [torch.zeros_like(part).requires_grad_() for part in slope]
                return vector, pulled(slope, by_point, vector, create_graph=True)

        def mixed_transposed(tangent: Hyper) -> Tensor:
            vector, image = linear()
            return _flat(pulled(image, vector, [tangent[key] for key in point]))

        return cls(hessian, mixed, mixed_transposed)


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


def _flat(parts: list[Tensor]) -> Tensor:
    """[B, ...] each -> [B, sum of their sizes]."""
    return torch.cat([part.flatten(1) for part in parts], 1)
