"""Two-layer graph networks whose convolution is a polynomial of the graph, its coefficients set by the hyperparameters."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models.classifier import glorot
from hcdc.models.graphnet import HopNet, Thinned
from hcdc.spaces import Axis, Real, Space

SMALL = 256
"""Nodes of a dense graph up to which a filter is made as a matrix."""

Basis = Literal["adjacency", "laplacian", "chebyshev", "bernstein"]
BASES: tuple[Basis, ...] = ("adjacency", "laplacian", "chebyshev", "bernstein")


@dataclass(frozen=True)
class GraphFilter(HopNet):
    """logits = C relu(C X W1 + b1) W2 + b2, with C(lambda) = sum_{k=0}^{order} c_k(lambda) B_k  (Section 7 of the paper).

    A family gives the coefficients c(lambda) and may give another basis than B_k = Â^k, with Â the normalised adjacency
    with self-loops. Dropout acts on the features and on the hidden layer, as in Kipf and Welling (2016).
    """

    @abstractmethod
    def coefficients(self, hyper: Hyper) -> Tensor:
        """c(lambda) [order + 1]."""

    @property
    def plain(self) -> bool:
        """Whether B_k is Â^k."""
        return True

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        d, h, c = self.num_features, self.hidden, self.num_classes
        first, second = glorot((d, h), (d, h), generator), glorot((h, c), (h, c), generator)
        return {"w1": first, "b1": torch.zeros(h), "w2": second, "b2": torch.zeros(c)}

    def noise(self, data: GraphData, generator: torch.Generator) -> Noise:
        return self.layer_noise(data, self.hidden, generator)

    def footprint(self, data: GraphData) -> int:
        matrix = data.size if isinstance(data.propagation, Tensor) and data.size <= SMALL else 0
        if "edge_drop" in self.regularisers:
            kept = 4 * (self.order + 1)  # a product with a `Thinned` graph keeps its parts
        else:
            kept = 2 if self.plain and isinstance(data.propagation, Sparse) else self.order + 2
        return 3 * 4 * data.size * (kept * (self.hidden + min(self.hidden, self.num_classes)) + matrix)

    def logits(self, params: Params, hyper: Hyper, data: GraphData, noise: Noise) -> Tensor:
        x, filtered = noise.get("x", data.x), self.filtering(hyper, data)
        hidden = self.activate(filtered(x @ params["w1"]) + params["b1"])
        if noise:
            hidden = hidden * noise["hidden"]
        narrow = self.hidden < self.num_classes
        out = data.entering(filtered(hidden if narrow else hidden @ params["w2"]))
        return (out @ params["w2"] if narrow else out) + params["b2"]

    def filtering(self, hyper: Hyper, data: GraphData) -> Callable[[Tensor], Tensor]:
        """h -> C(lambda) h: without edges C(lambda) is a number; on a small dense graph it is made as a matrix [n, n], of which
        both layers make use."""
        weights, graph = self.coefficients(hyper), self.graph(hyper, data)
        if isinstance(graph, Sparse) and graph.unit:
            return self.filter(weights, graph, weights.new_ones(1, 1)).mul
        if not isinstance(graph, Tensor) or data.size > SMALL:
            return partial(self.filter, weights, graph)
        powers = data.basis(self, self.matrices)
        return (weights @ powers.flatten(1)).reshape(graph.shape).matmul

    def matrices(self, graph: Tensor) -> Tensor:
        """B_0, ..., B_order of a dense graph: [order + 1, n, n]."""
        unit = torch.eye(graph.shape[0], dtype=graph.dtype, device=graph.device)
        return torch.stack([unit, *self.terms(graph, unit)])

    def filter(self, weights: Tensor, graph: Tensor | Sparse | Thinned, h: Tensor) -> Tensor:
        """C(weights) h, by `order` products with the graph: [n, f] -> [n, f]."""
        if isinstance(graph, Sparse) and self.plain:
            return graph.polynomial(weights, h)
        total = weights[0] * h
        for k, term in enumerate(self.terms(graph, h), 1):
            total = total + weights[k] * term
        return total

    def terms(self, graph: Tensor | Sparse | Thinned, h: Tensor) -> Iterator[Tensor]:
        """B_1 h, ..., B_order h; B_0 is the identity."""
        for _ in range(self.order):
            h = graph @ h
            yield h


@dataclass(frozen=True)
class PolyFilter(GraphFilter):
    """The filter whose coefficients are the hyperparameters themselves: hyper = {"filter": [order + 1]}.

    The basis B_k is Â^k ("adjacency"), L^k ("laplacian"), T_k(-Â) ("chebyshev", L_max = 2) or
    C(order, k) / 2^order (2I - L)^(order - k) L^k ("bernstein", He et al. 2021), with L = I - Â. In the last, coefficient
    k is near the response of the filter to the eigenvalue 2k / order of L.
    """

    basis: Basis = "adjacency"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.basis not in BASES:
            raise InputError("basis", self.basis, f"must be one of {', '.join(BASES)}", "choose one of these")

    def axes(self, low: float = -1.0, high: float = 1.0) -> dict[str, Axis]:
        return {f"filter.{k}": Real(low, high) for k in range(self.order + 1)}

    def space(self, low: float = -1.0, high: float = 1.0) -> Space:
        """Every coefficient in [low, high], then the axes of the regularisers."""
        return Space(self.axes(low, high) | self.further())

    def coefficients(self, hyper: Hyper) -> Tensor:
        return self.weights(hyper, "filter")

    @property
    def plain(self) -> bool:
        return self.basis == "adjacency"

    def matrices(self, graph: Tensor) -> Tensor:
        if self.basis != "bernstein":
            return super().matrices(graph)
        unit = torch.eye(graph.shape[0], dtype=graph.dtype, device=graph.device)
        return torch.stack([self.filter(weights, graph, unit) for weights in torch.eye(self.order + 1, dtype=graph.dtype, device=graph.device)])

    def filter(self, weights: Tensor, graph: Tensor | Sparse | Thinned, h: Tensor) -> Tensor:
        if self.basis != "bernstein":
            return super().filter(weights, graph, h)
        return _bernstein(weights, graph, h, self.order)

    def terms(self, graph: Tensor | Sparse | Thinned, h: Tensor) -> Iterator[Tensor]:
        if self.basis == "adjacency":
            yield from super().terms(graph, h)
            return
        previous, current = h, h
        for k in range(1, self.order + 1):
            step = graph @ current
            if self.basis == "laplacian":
                previous, current = current, current - step
            else:
                previous, current = current, -step if k == 1 else -2 * step - previous
            yield current


@dataclass(frozen=True)
class Ppr(GraphFilter):
    """Personalised PageRank in `order` steps (Gasteiger et al. 2019, Eq. 4): c_k = alpha (1 - alpha)^k, c_order = (1 - alpha)^order.

    hyper = {"alpha": [1]}, the probability of a return, in (0, 1); the coefficients add up to 1.
    """

    order: int = 10

    def axes(self) -> dict[str, Axis]:
        return {"alpha": Real(0.05, 0.95)}

    def coefficients(self, hyper: Hyper) -> Tensor:
        alpha = hyper["alpha"][0]
        powers = [torch.ones_like(alpha)]
        for _ in range(self.order):
            powers.append(powers[-1] * (1 - alpha))
        return torch.stack([*(alpha * power for power in powers[:-1]), powers[-1]])


@dataclass(frozen=True)
class Heat(GraphFilter):
    """Heat kernel exp(-t (I - Â)) of graph diffusion (Gasteiger, Weißenberger and Günnemann 2019), cut off: c_k = e^-t t^k / k!.

    hyper = {"t": [1]}, the time of the diffusion. What is cut off is the tail of a Poisson distribution: at order 10 the
    coefficients add up to 1 within 2 % for t <= 5.
    """

    order: int = 10

    def axes(self) -> dict[str, Axis]:
        return {"t": Real(0.0, 5.0)}

    def coefficients(self, hyper: Hyper) -> Tensor:
        t = hyper["t"][0]
        terms = [(-t).exp()]
        for k in range(1, self.order + 1):
            terms.append(terms[-1] * t / k)
        return torch.stack(terms)


def _bernstein(weights: Tensor, graph: Tensor | Sparse | Thinned, h: Tensor, order: int) -> Tensor:
    """sum_k weights_k C(order, k) P^(order - k) Q^k h, P = (I + Â) / 2 and Q = (I - Â) / 2, by 2 order products.

    The powers u_k = Q^k h, then Horner's rule in P: v_k = P v_{k-1} + weights_k C(order, k) u_k.
    """
    u, total = h, weights[0] * h
    for k in range(1, order + 1):
        u, total = (u - graph @ u) / 2, (total + graph @ total) / 2
        total = total + math.comb(order, k) * weights[k] * u
    return total
