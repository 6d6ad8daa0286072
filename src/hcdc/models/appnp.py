"""APPNP as a supernet: steps, width, restart probability and activation are choices, relaxed to weights over options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models.classifier import glorot
from hcdc.models.graphnet import GraphNet, Thinned
from hcdc.models.mixture import activated, check_activations, check_rising, first_units, in_use, perceptron
from hcdc.spaces import Axis, Choice


@dataclass(frozen=True)
class Appnp(GraphNet):
    """logits = Z_K, Z_0 = H = act(X W1 + b1) W2 + b2, Z_{k+1} = (1 - alpha) Â Z_k + alpha H  (Gasteiger et al. 2019, Eq. 5).

    hyper = {"k": [1, 5], "hidden": [1, 6], "alpha": [1, 2], "activation": [1, 8]} at the defaults, 480 architectures, a
    grid of the graph-condensation literature: weights over the options, one-hot for one architecture. The weights mix
    the Z_K; add up masks of the first units of one hidden layer of the largest width; average alpha; mix the activations.

    A unit starts at the scale of the narrowest network that has it, so that the narrowest starts as it would alone, and
    all draw from one seed; units of which no network has need keep their weight decay alone. Dropout acts on the features
    and on the hidden layer.
    """

    steps: tuple[int, ...] = (2, 4, 6, 8, 10)
    widths: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    alphas: tuple[float, ...] = (0.1, 0.2)
    activations: tuple[str, ...] = ("sigmoid", "tanh", "relu", "linear", "softplus", "leaky_relu", "relu6", "elu")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "widths", "alphas", "activations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_rising("steps", self.steps)
        check_rising("widths", self.widths)
        check_rising("alphas", self.alphas)
        if max(self.alphas) >= 1:
            raise InputError("alphas", self.alphas, "must be less than 1", "use 0.1 and 0.2, as Gasteiger et al. do")
        check_activations(self.activations)

    def axes(self) -> dict[str, Axis]:
        groups = {"k": self.steps, "hidden": self.widths, "alpha": self.alphas, "activation": self.activations}
        return {name: Choice(tuple(str(option) for option in options)) for name, options in groups.items()}

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        d, c = self.num_features, self.num_classes
        blocks = list(zip(self.widths, (0, *self.widths), strict=False))
        first = [glorot((d, wide - narrow), (d, wide), generator) for wide, narrow in blocks]
        second = [glorot((wide - narrow, c), (wide, c), generator) for wide, narrow in blocks]
        return {"w1": torch.cat(first, 1), "b1": torch.zeros(self.widths[-1]), "w2": torch.cat(second), "b2": torch.zeros(c)}

    def noise(self, data: GraphData, generator: torch.Generator) -> Noise:
        return self.layer_noise(data, self.widths[-1], generator)

    def footprint(self, data: GraphData) -> int:
        return 3 * 4 * data.size * (self.widths[-1] * (len(self.activations) + 2) + self.num_classes * 2 * self.steps[-1])

    def logits(self, params: Params, hyper: Hyper, data: GraphData, noise: Noise) -> Tensor:
        units = first_units(hyper["hidden"][0], self.widths)
        act = partial(activated, hyper["activation"][0], self.activations)
        h = perceptron(params, units, act, noise.get("x", data.x), noise.get("hidden"))
        return data.entering(self.propagate(hyper, self.graph(hyper, data), h))

    def propagate(self, hyper: Hyper, graph: Tensor | Sparse | Thinned, h: Tensor) -> Tensor:
        """sum_K k_K Z_K for Z_0 = h, by as many products as the largest K in use: [n, classes] -> [n, classes]."""
        weights = hyper["k"][0]
        chosen = {self.steps[index]: weights[index] for index in in_use(weights)}
        alpha = (hyper["alpha"][0] * torch.tensor(self.alphas, dtype=h.dtype, device=h.device)).sum()
        z, total = h, torch.zeros_like(h)
        for k in range(1, max(chosen) + 1):
            z = (1 - alpha) * (graph @ z) + alpha * h
            if k in chosen:
                total = total + chosen[k] * z
        return total
