"""The space of GraphNAS (Gao et al. 2020) as a supernet: attention over edges, aggregation, activation, heads and width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models.classifier import glorot
from hcdc.models.graphnet import GraphNet
from hcdc.models.mixture import activated, check_activations, check_rising, first_units, mixed
from hcdc.spaces import Axis, Choice

ATTENTIONS = ("gat", "gcn", "cos", "const", "gat_sym", "linear", "generalized_linear")
AGGREGATORS = ("sum", "mean", "max", "mlp")
SLOPE = 0.2
"""Of the leaky ReLU of an attention, as in GAT."""


class Edges(NamedTuple):
    """Pairs that exchange messages, self-loops among them: `to` and `of` [E], node numbers; `weight` [E] of A + I and
    `gcn` [E] of Â; `degree` [n] of A + I."""

    to: Tensor
    of: Tensor
    weight: Tensor
    gcn: Tensor
    degree: Tensor

    def total(self, messages: Tensor) -> Tensor:
        """Sum over what enters each node: [E, ...] -> [n, ...]."""
        return messages.new_zeros(self.degree.shape[0], *messages.shape[1:]).index_add(0, self.to, messages)

    def largest(self, messages: Tensor) -> Tensor:
        """The largest entry of what enters each node, [E, ...] -> [n, ...]; edges of weight 0 are none."""
        shown = (self.weight > 0).reshape(-1, *[1] * (messages.ndim - 1))
        index = self.to.reshape(shown.shape).expand_as(messages)
        start = messages.new_zeros(self.degree.shape[0], *messages.shape[1:])
        return start.scatter_reduce(0, index, torch.where(shown, messages, -torch.inf), "amax", include_self=False)


@dataclass(frozen=True)
class GraphNasNet(GraphNet):
    """Two layers; in each, of z = h W [n, heads, width], act(aggregate_j alpha_ij z_j + b) over the neighbours j of i, itself
    among them. The heads of the first layer are concatenated, those of the second, as wide as there are classes, averaged.

    hyper holds weights over options, soft or one-hot: {"attention": [2, 7], "aggregator": [2, 4], "activation": [2, 8],
    "heads": [2, 6], "hidden": [1, 7]} at the defaults, which are GraphNAS's. They mix the coefficients alpha, the
    aggregates and the activations, and add up masks of the first heads and units of one layer of the largest size.

    alpha_ij is 1 ("const"), Â_ij ("gcn"), or the softmax over j of e_ij, each j weighted by (A + I)_ij: l.z_i + r.z_j through
    a leaky ReLU ("gat"), e_ij + e_ji of that ("gat_sym"), (l z_i).(r z_j) ("cos"), tanh(r.z_j) ("linear"),
    g.tanh(l z_i + r z_j) ("generalized_linear"), with vectors l, r and g of each head. "mlp" sums messages that went
    through a layer of `pool` rectified units. What multiplies a message in the place of 1 is (A + I)_ij, so that a learned
    adjacency counts. Every pair of nodes is an edge of a dense graph: take it for small ones.
    """

    attentions: tuple[str, ...] = ATTENTIONS
    aggregators: tuple[str, ...] = AGGREGATORS
    activations: tuple[str, ...] = ("sigmoid", "tanh", "relu", "linear", "softplus", "leaky_relu", "relu6", "elu")
    heads: tuple[int, ...] = (1, 2, 4, 6, 8, 16)
    widths: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256)
    pool: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("attentions", "aggregators", "activations", "heads", "widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, known in {"attentions": ATTENTIONS, "aggregators": AGGREGATORS}.items():
            given = getattr(self, name)
            if len(given) < 2 or len(set(given)) < len(given) or not set(given) <= set(known):
                raise InputError(name, given, f"must be two or more of {', '.join(known)}, each once", "choose among these")
        check_activations(self.activations)
        check_rising("heads", self.heads)
        check_rising("widths", self.widths)
        if self.pool < 1:
            raise InputError("pool", self.pool, "must be at least 1", "use 128, as GraphNAS does")

    def axes(self) -> dict[str, Axis]:
        layered = {"attention": self.attentions, "aggregator": self.aggregators, "activation": self.activations, "heads": self.heads}
        options = {f"{name}.{layer}": values for layer in range(2) for name, values in layered.items()} | {"hidden": self.widths}
        return {name: Choice(tuple(str(value) for value in values)) for name, values in options.items()}

    def sizes(self) -> tuple[tuple[int, int, int], ...]:
        """(features, heads, width) of each layer at its largest."""
        heads = self.heads[-1]
        return (self.num_features, heads, self.widths[-1]), (heads * self.widths[-1], heads, self.num_classes)

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        """Glorot's, but for the biases: weights by the fans of one head, attention vectors as maps from a head to a number."""
        params: Params = {}
        for layer, (features, heads, width) in enumerate(self.sizes(), 1):
            params[f"w{layer}"] = glorot((features, heads * width), (features, width), generator)
            params[f"b{layer}"] = torch.zeros(heads * width)
            params[f"attention{layer}"] = glorot((3, heads, width), (width, 1), generator)
            params[f"pool{layer}.in"] = glorot((width, self.pool), (width, self.pool), generator)
            params[f"pool{layer}.bias"] = torch.zeros(self.pool)
            params[f"pool{layer}.out"] = glorot((self.pool, width), (self.pool, width), generator)
        return params

    def layers(self) -> tuple[tuple[str, ...], ...]:
        pooled = ("in", "bias", "out")
        return tuple((f"w{n}", f"b{n}", f"attention{n}", *(f"pool{n}.{part}" for part in pooled)) for n in (1, 2))

    def noise(self, data: GraphData, generator: torch.Generator) -> Noise:
        return self.layer_noise(data, self.heads[-1] * self.widths[-1], generator)

    def footprint(self, data: GraphData) -> int:
        edges = data.propagation.nnz if isinstance(data.propagation, Sparse) else data.size**2
        units = max(self.widths[-1], self.num_classes)
        return 3 * 4 * self.heads[-1] * (edges * (12 * units + 2 * self.pool) + 20 * data.size * units)

    def logits(self, params: Params, hyper: Hyper, data: GraphData, noise: Noise) -> Tensor:
        edges = edges_of(data, 1 - hyper["edge_drop"][0] if "edge_drop" in self.regularisers else None)
        first, last = (first_units(hyper["heads"][layer], self.heads).unsqueeze(-1) for layer in range(2))
        units = first_units(hyper["hidden"][0], self.widths)
        params = self.narrowed(params, len(first), len(units), len(last))
        h = first * units * self.layer(params, hyper, edges, noise.get("x", data.x), 0, units)
        if noise:
            h = h * noise["hidden"].unflatten(1, (-1, self.widths[-1]))[:, : len(first), : len(units)]
        out = self.layer(params, hyper, edges, h.flatten(1), 1, h.new_ones(self.num_classes))
        return data.entering((last * out).sum(1) / last.sum())

    def narrowed(self, params: Params, heads: int, units: int, last: int) -> Params:
        """The parameters of the first `heads` of the first layer, `units` wide each, and of the `last` first ones of the second."""
        (d, most, widest), (_, _, c) = self.sizes()
        found = {name: value for name, value in params.items() if name.startswith("pool")}
        found["w1"] = params["w1"].reshape(d, most, widest)[:, :heads, :units]
        found["w2"] = params["w2"].reshape(most, widest, most, c)[:heads, :units, :last].flatten(0, 1)
        for layer, kept, width in ((1, heads, units), (2, last, c)):
            found[f"b{layer}"] = params[f"b{layer}"].reshape(most, -1)[:kept, :width]
            found[f"attention{layer}"] = params[f"attention{layer}"][:, :kept, :width]
            found[f"pool{layer}.in"] = params[f"pool{layer}.in"][:width]
            found[f"pool{layer}.out"] = params[f"pool{layer}.out"][:, :width]
        return found

    def layer(self, params: Params, hyper: Hyper, edges: Edges, h: Tensor | Sparse, number: int, units: Tensor) -> Tensor:
        """[n, features] -> [n, heads, width] by the `narrowed` parameters, of which `units` [width] are used."""
        weight = params[f"w{number + 1}"]
        z = (h @ weight.flatten(1)).unflatten(1, weight.shape[1:]) * units
        coefficients = partial(self.coefficients, params[f"attention{number + 1}"], edges, z)
        alpha = mixed(hyper["attention"][number], [partial(coefficients, name) for name in self.attentions])
        messages = alpha.unsqueeze(-1) * z[edges.of]
        aggregates = [partial(self.aggregate, name, params, edges, messages, number) for name in self.aggregators]
        found = mixed(hyper["aggregator"][number], aggregates)
        return activated(hyper["activation"][number], self.activations, found + params[f"b{number + 1}"])

    def coefficients(self, vectors: Tensor, edges: Edges, z: Tensor, name: str) -> Tensor:
        """alpha [E, heads] of the attention `name`, of `vectors` [3, heads, width] (l, r, g) and z [n, heads, width]."""
        if name in ("const", "gcn"):
            return (edges.weight if name == "const" else edges.gcn).unsqueeze(-1).expand(-1, z.shape[1])
        return softmax(self.scores(vectors, edges, z, name), edges)

    def scores(self, vectors: Tensor, edges: Edges, z: Tensor, name: str) -> Tensor:
        """e [E, heads] of the attention `name`."""
        left, right = (z * vectors[0]).sum(-1), (z * vectors[1]).sum(-1)
        if name in ("gat", "gat_sym"):
            forth = functional.leaky_relu(left[edges.to] + right[edges.of], SLOPE)
            return forth if name == "gat" else forth + functional.leaky_relu(left[edges.of] + right[edges.to], SLOPE)
        if name == "linear":
            return right.tanh()[edges.of]
        ours, theirs = (z * vectors[0])[edges.to], (z * vectors[1])[edges.of]
        return (ours * theirs).sum(-1) if name == "cos" else ((ours + theirs).tanh() * vectors[2]).sum(-1)

    def aggregate(self, name: str, params: Params, edges: Edges, messages: Tensor, number: int) -> Tensor:
        """[E, heads, width] -> [n, heads, width]."""
        if name == "max":
            return edges.largest(messages)
        if name == "mlp":
            pool = f"pool{number + 1}"
            messages = (messages @ params[f"{pool}.in"] + params[f"{pool}.bias"]).relu() @ params[f"{pool}.out"]
            messages = messages * edges.weight.reshape(-1, 1, 1)
        total = edges.total(messages)
        return total / edges.degree.reshape(-1, 1, 1) if name == "mean" else total


def edges_of(data: GraphData, keep: Tensor | None = None) -> Edges:
    """The stored entries of a sparse Â, all pairs of a dense one; of (1 - p) A with `keep` = 1 - p in the place of A."""
    graph, degree = data.propagation, data.degree + 1
    if isinstance(graph, Sparse):
        (to, of), gcn = graph.coo()
    else:
        node = torch.arange(data.size, device=graph.device)
        to, of, gcn = node.repeat_interleave(data.size), node.repeat(data.size), graph.flatten()
    weight = gcn * (degree[to] * degree[of]).sqrt()
    if keep is not None:
        weight, degree = torch.where(to == of, weight, keep * weight), keep * data.degree + 1
        gcn = weight * (degree[to] * degree[of]).rsqrt()
    return Edges(to, of, weight, gcn, degree)


def softmax(score: Tensor, edges: Edges) -> Tensor:
    """w_ij exp(e_ij) / sum_k w_ik exp(e_ik) of e [E, heads] and the weights of `edges`; a pair without weight has none of it,
    however high its score."""
    top = edges.largest(score.detach())
    share = (score - top[edges.to]).clamp_max(0).exp() * edges.weight.unsqueeze(-1)
    return share / edges.total(share)[edges.to]
