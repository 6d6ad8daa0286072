"""Two-layer networks on diffused features, one weight a hop the hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import GraphData
from hcdc.models.classifier import dropout_mask, glorot
from hcdc.models.graphnet import HopNet
from hcdc.spaces import Axis, Real

KEPT = 2**27
"""Entries of X, ..., Â^order X (512 MiB in float32) up to which they are computed once and kept with the data."""


@dataclass(frozen=True)
class Sign(HopNet):
    """logits = relu(concat_k(lambda_k Â^k X W_k) + b1) W2 + b2, k = 0, ..., order  (after Frasca et al. 2020, Eq. 4).

    hyper = {"hop": [order + 1]}. Since lambda_k W_k can be any matrix, a hop weight acts through the weight decay, as
    1 / lambda_k^2 times the penalty of hop k: 0 switches a hop off, and small weights make it dear. Â^k X depends on
    no parameter and is computed once for a container of data; where it would have more than `KEPT` entries, or "edge_drop"
    changes the graph, X W_k is propagated instead. Dropout acts on the hidden layer only, since dropped features would
    have to be propagated anew.
    """

    def axes(self) -> dict[str, Axis]:
        return {f"hop.{k}": Real(0.0, 1.0) for k in range(self.order + 1)}

    def hops_apart(self) -> int:
        return self.order

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        d, h, c, hops = self.num_features, self.hidden, self.num_classes, self.order + 1
        first = torch.stack([glorot((d, h), (d, h), generator) for _ in range(hops)])
        second = glorot((hops * h, c), (hops * h, c), generator)
        return {"w1": first, "b1": torch.zeros(hops, h), "w2": second, "b2": torch.zeros(c)}

    def footprint(self, data: GraphData) -> int:
        copies = 2 if "edge_drop" in self.regularisers else 1  # a product with a `Thinned` graph keeps its parts
        return 3 * 4 * copies * (self.order + 1) * (data.nodes.numel() * 2 + data.size) * self.hidden

    def noise(self, data: GraphData, generator: torch.Generator) -> Noise:
        if self.keeps(data):
            data.powers(self.order)  # outside of any transform, so that it is kept
        width = (self.order + 1) * self.hidden
        return {"hidden": dropout_mask((data.nodes.numel(), width), self.dropout, generator)} if self.dropout else {}

    def logits(self, params: Params, hyper: Hyper, data: GraphData, noise: Noise) -> Tensor:
        hops = self.kept(params["w1"], data) if self.keeps(data) else self.propagated(params["w1"], hyper, data)
        hidden = self.activate(self.weights(hyper, "hop").unsqueeze(-1) * hops + params["b1"]).flatten(1)
        if noise:
            hidden = hidden * noise["hidden"]
        return hidden @ params["w2"] + params["b2"]

    def keeps(self, data: GraphData) -> bool:
        """Whether Â^k X is computed once."""
        return "edge_drop" not in self.regularisers and (self.order + 1) * data.size * data.num_features <= KEPT

    def kept(self, w1: Tensor, data: GraphData) -> Tensor:
        """(Â^k X) W_k: [m, order + 1, hidden]."""
        return torch.einsum("kmd,kdh->mkh", data.powers(self.order), w1)

    def propagated(self, w1: Tensor, hyper: Hyper, data: GraphData) -> Tensor:
        """Â^k (X W_k): [m, order + 1, hidden], with one product a power, of the hops that still need it."""
        graph, width = self.graph(hyper, data), self.hidden
        rest = data.x @ w1.movedim(0, 1).flatten(1)
        done = [rest[:, :width]]
        for _ in range(self.order):
            rest = graph @ rest[:, width:]
            done.append(rest[:, :width])
        return data.entering(torch.stack(done, 1))
