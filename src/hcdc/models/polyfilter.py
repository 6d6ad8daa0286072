"""Two-layer graph networks whose convolution is a polynomial of the graph, its coefficients the hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models.classifier import Classifier, dropout_mask, glorot
from hcdc.spaces import Real, Space

Basis = Literal["adjacency", "laplacian", "chebyshev"]
BASES: tuple[Basis, ...] = ("adjacency", "laplacian", "chebyshev")


@dataclass(frozen=True)
class PolyFilter(Classifier):
    """logits = C relu(C X W1 + b1) W2 + b2, with C(lambda) = sum_{k=0}^{order} lambda_k B_k  (Section 7 of the paper).

    The basis B_k is Â^k ("adjacency"), (I - Â)^k ("laplacian") or T_k(-Â) ("chebyshev", L_max = 2), with Â the
    normalised adjacency with self-loops. hyper = {"filter": [order + 1]}. Dropout acts on the features and on the
    hidden layer, as in Kipf and Welling (2016).
    """

    num_features: int = 1
    hidden: int = 16
    order: int = 3
    basis: Basis = "adjacency"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order < 0:
            raise InputError("order", self.order, "must not be negative", "use 0 or more powers of the graph")
        if self.basis not in BASES:
            raise InputError("basis", self.basis, f"must be one of {', '.join(BASES)}", "choose one of these")
        if self.hidden < 1:
            raise InputError("hidden", self.hidden, "must be at least 1", "use 16, as Kipf and Welling do")

    def space(self, low: float = -1.0, high: float = 1.0) -> Space:
        """Every coefficient in [low, high]."""
        return Space({f"filter.{k}": Real(low, high) for k in range(self.order + 1)})

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        d, h, c = self.num_features, self.hidden, self.num_classes
        first, second = glorot((d, h), (d, h), generator), glorot((h, c), (h, c), generator)
        return {"w1": first, "b1": torch.zeros(h), "w2": second, "b2": torch.zeros(c)}

    def noise(self, data: GraphData, generator: torch.Generator) -> Noise:
        if not self.dropout:
            return {}
        hidden = dropout_mask((data.size, self.hidden), self.dropout, generator)
        if isinstance(data.x, Sparse):
            return {"x": data.x.scaled(dropout_mask((data.x.nnz,), self.dropout, generator)), "hidden": hidden}
        return {"x": data.x * dropout_mask(tuple(data.x.shape), self.dropout, generator), "hidden": hidden}

    def footprint(self, data: GraphData) -> int:
        return 3 * 4 * data.size * (self.order + 2) * (self.hidden + self.num_classes)

    def logits(self, params: Params, hyper: Hyper, data: GraphData, noise: Noise) -> Tensor:
        x = noise.get("x", data.x)
        hidden = (self.filter(hyper["filter"], data, x @ params["w1"]) + params["b1"]).relu()
        if noise:
            hidden = hidden * noise["hidden"]
        out = self.filter(hyper["filter"], data, hidden @ params["w2"]) + params["b2"]
        return out[data.nodes]

    def filter(self, weights: Tensor, data: GraphData, h: Tensor) -> Tensor:
        """C(weights) h, by `order` products with the graph: [n, f] -> [n, f]."""
        if weights.shape[-1] != self.order + 1:
            raise InputError("filter", tuple(weights.shape), f"must have {self.order + 1} coefficients", f"fit it to order={self.order}")
        total, previous, current = weights[0] * h, h, h
        for k in range(1, self.order + 1):
            step = data.propagation @ current
            if self.basis == "adjacency":
                previous, current = current, step
            elif self.basis == "laplacian":
                previous, current = current, current - step
            else:
                previous, current = current, -step if k == 1 else -2 * step - previous
            total = total + weights[k] * current
        return total
