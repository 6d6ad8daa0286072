"""GCond (Jin et al. 2022) written as its authors publish it: modules, autograd, a loop over classes.

What is kept of that code is what its time goes into: an MLP on the concatenated features of every pair of nodes, a
two-hop SGC, for each class a forward and a backward pass on the two-hop neighbourhood of its real nodes and one on the
synthetic graph, the adjacency made again for the surrogate, and Adam throughout. It is spared the sampling of
neighbourhoods: those of all neighbours are cut out once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hcdc.data import GraphData, Sparse


class Pairs(nn.Module):
    """The symmetrised sigmoid of an MLP on the features of all pairs: [n, d] -> [n, n]."""

    def __init__(self, features: int, nodes: int, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2 * features, width), nn.Linear(width, width), nn.Linear(width, 1)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(width), nn.BatchNorm1d(width)])
        self.first, self.second = (index.flatten() for index in torch.meshgrid(torch.arange(nodes), torch.arange(nodes), indexing="ij"))
        self.nodes = nodes

    def forward(self, x: Tensor) -> Tensor:
        h = torch.cat([x[self.first], x[self.second]], 1)
        for layer, norm in zip(self.layers, self.norms, strict=False):
            h = norm(layer(h)).relu()
        scores = self.layers[2](h).reshape(self.nodes, self.nodes)
        weights = ((scores + scores.T) / 2).sigmoid()
        return weights - torch.diag(weights.diag())


class SGC(nn.Module):
    """Two products with the graph after one linear layer, and the logarithm of its softmax."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(features, classes)), nn.Parameter(torch.empty(classes))
        self.initialise()

    def initialise(self) -> None:
        bound = self.weight.shape[0] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return (second @ (first @ (x @ self.weight)) + self.bias).log_softmax(-1)


class Neighbourhood(NamedTuple):
    """Of the real nodes of a class: features of all that two hops reach, and the two hops as sparse [., .]."""

    x: Tensor
    first: Tensor
    second: Tensor


def neighbourhood(data: GraphData, label: int) -> Neighbourhood:
    graph, x = data.propagation, data.x
    assert isinstance(graph, Sparse)
    second = graph.rows(data.nodes[data.labels() == label])
    middle = second.csr.col_indices().unique()
    first = graph.rows(middle)
    outer = first.csr.col_indices().unique()
    features = x.rows(outer).dense() if isinstance(x, Sparse) else x[outer]
    return Neighbourhood(features, _columns(first, outer), _columns(second, middle))


def _columns(matrix: Sparse, index: Tensor) -> Tensor:
    """Only the columns `index` (sorted, all that are stored)."""
    csr = matrix.csr
    shape = (matrix.shape[0], index.numel())
    return torch.sparse_csr_tensor(csr.crow_indices(), torch.searchsorted(index, csr.col_indices()), csr.values(), shape, check_invariants=False)


def normalised(adjacency: Tensor) -> Tensor:
    loops = adjacency + torch.eye(adjacency.shape[0])
    scale = loops.sum(1).rsqrt()
    return scale.unsqueeze(1) * loops * scale


def column_distance(a: Tensor, b: Tensor) -> Tensor:
    return (1 - functional.cosine_similarity(a, b, dim=0, eps=1e-6)).sum()


class PlainGCond:
    """The state of a run; `epoch(number)` is one pass of the outer loop. Synthetic nodes start at `x` [n, d] of class `y` [n]."""

    def __init__(self, data: GraphData, x: Tensor, y: Tensor, *, outer: int = 20, inner: int = 15, lr: float = 1e-4) -> None:
        self.x, self.y, self.outer, self.inner = x.clone().requires_grad_(), y, outer, inner
        self.pairs, self.model = Pairs(x.shape[1], x.shape[0]), SGC(x.shape[1], data.num_classes)
        self.real = [neighbourhood(data, label) for label in range(data.num_classes)]
        self.optimisers = {"pairs": torch.optim.Adam(self.pairs.parameters(), lr=lr), "x": torch.optim.Adam([self.x], lr=lr)}

    def epoch(self, number: int) -> float:
        self.model.initialise()
        surrogate = torch.optim.Adam(self.model.parameters(), lr=0.01)
        loss = torch.zeros(())
        for _ in range(self.outer):
            graph = normalised(self.pairs(self.x))
            loss = self._match(graph)
            for optimiser in self.optimisers.values():
                optimiser.zero_grad()
            loss.backward()
            self.optimisers["pairs" if number % 50 < 10 else "x"].step()
            x = self.x.detach()
            with torch.no_grad():
                graph = normalised(self.pairs(x))
            for _ in range(self.inner):
                surrogate.zero_grad()
                functional.nll_loss(self.model(x, graph, graph), self.y).backward()
                surrogate.step()
        return float(loss.detach())

    def _match(self, graph: Tensor) -> Tensor:
        total, weights = torch.zeros(()), list(self.model.parameters())
        for label, real in enumerate(self.real):
            wanted = torch.full((real.second.shape[0],), label)
            target = torch.autograd.grad(functional.nll_loss(self.model(*real), wanted), weights)
            members = self.y == label
            mine = functional.nll_loss(self.model(self.x, graph, graph)[members], self.y[members])
            found = torch.autograd.grad(mine, weights, create_graph=True)
            total = total + members.float().mean() * column_distance(found[0], target[0].detach())
        return total
