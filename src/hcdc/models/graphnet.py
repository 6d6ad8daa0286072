"""What the graph families share: dropout, and regularisers that are hyperparameters themselves."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models.classifier import Classifier, dropout_mask, smoothed, squared
from hcdc.spaces import Axis, Real, Space

REGULARISERS: dict[str, dict[str, Axis]] = {
    "decay": {"decay.0": Real(-5.0, -2.0), "decay.1": Real(-5.0, -2.0)},
    "edge_drop": {"edge_drop": Real(0.0, 0.9)},
    "smoothing": {"smoothing": Real(0.0, 0.5)},
}
"""The further axes that each regulariser brings."""

HIGHEST = 1000
"""Power of the graph beyond which nothing is left to be read."""

LAYERS = (("w1", "b1"), ("w2", "b2"))
"""The parameters of each of the two layers, by name, that every graph family has."""


@dataclass(frozen=True)
class GraphNet(Classifier):
    """A two-layer node classifier, with `regularisers` as further hyperparameters, each named once:

    - "decay", hyper["decay"] [2]: the penalty sum_l 10^decay_l / 2 ||theta_l||^2 over the layers takes the place of
      `weight_decay`.
    - "edge_drop", hyper["edge_drop"] [1], a rate p: wherever a family reads Â it reads Â_p = D_p^-1/2 ((1 - p) A + I)
      D_p^-1/2, with D_p the row sums of (1 - p) A + I, in training and in validation. (1 - p) A is what DropEdge (Rong
      et al. 2020) keeps of A in expectation; the normalisation is taken after the expectation.
    - "smoothing", hyper["smoothing"] [1], a rate s: the training loss is (1 - s) CE(y) + s CE(uniform) (Szegedy et al.
      2016); the validation criterion and the metrics stay as they are.
    """

    num_features: int = 1
    regularisers: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "regularisers", tuple(self.regularisers))
        if len(set(self.regularisers)) < len(self.regularisers) or not set(self.regularisers) <= set(REGULARISERS):
            rule = f"must be of {', '.join(REGULARISERS)}, each at most once"
            raise InputError("regularisers", self.regularisers, rule, "choose among these, or leave them out")

    @abstractmethod
    def axes(self) -> dict[str, Axis]:
        """The axes of the family itself, without those of `regularisers`."""

    def space(self) -> Space:
        """The axes of the family, then those of its regularisers."""
        return Space(self.axes() | self.further())

    def further(self) -> dict[str, Axis]:
        return {name: axis for regulariser in self.regularisers for name, axis in REGULARISERS[regulariser].items()}

    def hops_apart(self) -> int:
        """The power of the graph up to which each has parameters of its own, which S_train must therefore tell apart; 0 where
        the powers share theirs."""
        return 0

    def paced(self) -> bool:
        """Whether configurations differ in how fast they learn, as architectures do, so that part of their order is the order in
        which they learn: S is then trained at the rate of T (`docs/ablations.md`)."""
        return True

    def spanned(self, data: GraphData) -> tuple[GraphNet, GraphData, Params] | None:
        """Features in an orthonormal basis of the span of their rows, where these are at most half as many as features and no
        decay is searched, whose derivative is the parameters themselves."""
        if "decay" in self.regularisers or 2 * data.size > self.num_features:
            return None
        x = data.x.dense() if isinstance(data.x, Sparse) else data.x
        basis = torch.linalg.qr(x.T).Q
        return replace(self, num_features=basis.shape[1]), data.replace(x=x @ basis), {"w1": basis}

    def layers(self) -> tuple[tuple[str, ...], ...]:
        """The parameters of each layer, on which its decay acts; a family that has more names them too."""
        return LAYERS

    def graph(self, hyper: Hyper, data: GraphData) -> Tensor | Sparse | Thinned:
        """What multiplies features: Â, or Â_p under "edge_drop"."""
        return Thinned(data, 1 - hyper["edge_drop"][0]) if "edge_drop" in self.regularisers else data.propagation

    def penalty(self, params: Params, hyper: Hyper) -> Tensor:
        if "decay" not in self.regularisers:
            return super().penalty(params, hyper)
        squares = [squared({name: params[name] for name in layer}) for layer in self.layers()]
        return (10 ** hyper["decay"] * torch.stack(squares)).sum() / 2

    def fixed_decay(self) -> float:
        return self.weight_decay if self._penalised_as(GraphNet) and "decay" not in self.regularisers else 0.0

    def misfit(self, logits: Tensor, labels: Tensor, hyper: Hyper) -> Tensor:
        loss = super().misfit(logits, labels, hyper)
        return smoothed(loss, logits, hyper["smoothing"][0]) if "smoothing" in self.regularisers else loss

    def layer_noise(self, data: GraphData, width: int, generator: torch.Generator) -> Noise:
        """Dropout of the features "x" and of a hidden layer "hidden" [n, width], as in Kipf and Welling (2016)."""
        if not self.dropout:
            return {}
        hidden = dropout_mask((data.size, width), self.dropout, generator)
        if isinstance(data.x, Sparse):
            return {"x": data.x.scaled(dropout_mask((data.x.nnz,), self.dropout, generator)), "hidden": hidden}
        return {"x": data.x * dropout_mask(tuple(data.x.shape), self.dropout, generator), "hidden": hidden}


@dataclass(frozen=True)
class HopNet(GraphNet):
    """A `GraphNet` of `hidden` rectified units that reads the powers of the graph up to `order`."""

    hidden: int = 16
    order: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.order <= HIGHEST:
            raise InputError("order", self.order, f"must lie between 0 and {HIGHEST}", "use fewer powers of the graph, but not less than none")
        if self.hidden < 1:
            raise InputError("hidden", self.hidden, "must be at least 1", "use 16, as Kipf and Welling do")

    def paced(self) -> bool:
        return self.hops_apart() > 0

    def activate(self, h: Tensor) -> Tensor:
        """ReLU, whose second derivative is 0 wherever it exists."""
        return h.relu()

    def weights(self, hyper: Hyper, group: str) -> Tensor:
        """hyper[group], one number a power of the graph: [order + 1]."""
        found = hyper[group]
        if found.shape[-1] != self.order + 1:
            raise InputError(group, tuple(found.shape), f"must have {self.order + 1} coefficients", f"fit it to order={self.order}")
        return found


class Thinned:
    """Â_p of `data` for `keep` = 1 - p, as products: with s = (keep A 1 + 1)^-1/2, Â_p h = s (keep A (s h) + s h).

    Differentiable in `keep` although the entries of a sparse adjacency are constants.
    """

    def __init__(self, data: GraphData, keep: Tensor) -> None:
        self.adjacency, self.keep = data.adjacency, keep
        self.scale = (keep * data.degree + 1).rsqrt().unsqueeze(-1)

    def __matmul__(self, h: Tensor) -> Tensor:
        scaled = self.scale * h
        return self.scale * (self.keep * (self.adjacency @ scaled) + scaled)
