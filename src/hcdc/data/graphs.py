"""Node classification on one graph: containers, normalisation, induced subgraphs, checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from hcdc._device import here
from hcdc._tensors import TensorDict, has_memory, largest
from hcdc.data.base import Splits
from hcdc.data.sparse import Sparse
from hcdc.errors import DataError

HIDDEN = -1
"""Label of a node whose class is not to be seen by the holder of the container."""


@dataclass(frozen=True, eq=False)
class GraphData:
    """A graph of n nodes, of which those in `mask` enter the loss.

    `x` [n, d] features and `adjacency` [n, n] symmetric non-negative weights without self-loops, each dense or
    `Sparse`; `y` [n] int64, `HIDDEN` outside of the mask, so that a container of training nodes cannot leak the
    labels of the others; `mask` [n] bool. What follows from these is computed at once, since a tensor made inside of a
    `torch.func` transform must not outlive it.
    """

    x: Tensor | Sparse
    adjacency: Tensor | Sparse
    y: Tensor
    mask: Tensor
    num_classes: int
    _propagation: Tensor | Sparse | None = field(default=None, repr=False)
    _degree: Tensor | None = field(default=None, repr=False)
    _nodes: Tensor | None = field(default=None, repr=False)
    _powers: dict[Hashable, Tensor] = field(init=False, repr=False, default_factory=dict[Hashable, Tensor])
    _bases: dict[Hashable, Tensor] = field(init=False, repr=False, default_factory=dict[Hashable, Tensor])

    def __post_init__(self) -> None:
        if self._nodes is None:
            object.__setattr__(self, "_nodes", self.mask.nonzero().squeeze(1))
        if self._propagation is None:
            object.__setattr__(self, "_propagation", _normalise(self.adjacency))
        if self._degree is None:
            object.__setattr__(self, "_degree", _row_sums(self.adjacency))

    @property
    def size(self) -> int:
        return int(self.y.shape[0])

    @property
    def num_features(self) -> int:
        return int(self.x.shape[1])

    @property
    def nodes(self) -> Tensor:
        """Indices [m] of the nodes that enter the loss."""
        assert self._nodes is not None
        return self._nodes

    def entering(self, rows: Tensor) -> Tensor:
        """Those of `rows` [n, ...] whose nodes enter the loss: [m, ...], and no copy where all do."""
        return rows if self.nodes.numel() == self.size else rows[self.nodes]

    def labels(self) -> Tensor:
        return self.entering(self.y)

    @property
    def propagation(self) -> Tensor | Sparse:
        """D^-1/2 (A + I) D^-1/2, the normalised adjacency with self-loops of Kipf and Welling (2016).

        Of a graph without edges, unless they are being learned, this is the identity, kept sparse.
        """
        assert self._propagation is not None
        return self._propagation

    @property
    def degree(self) -> Tensor:
        """Row sums [n] of `adjacency`, without self-loops."""
        assert self._degree is not None
        return self._degree

    def powers(self, hops: int) -> Tensor:
        """Â^k X for k = 0, ..., hops at the nodes that enter the loss: dense [hops + 1, m, d].

        Made once for this container and kept by it, unless first asked for inside of a transform; a container with other
        tensors starts anew. While it is made, one dense [n, d] is held beside it.
        """
        return _once(self._powers, hops, lambda: self._made_powers(hops))

    def basis(self, family: Hashable, make: Callable[[Tensor], Tensor]) -> Tensor:
        """`make(propagation)` of a dense graph: made once for this container and kept by it for `family`, unless the graph is
        being differentiated."""
        graph = self.propagation
        assert isinstance(graph, Tensor)
        return make(graph) if graph.requires_grad else _once(self._bases, family, lambda: make(graph))

    def _made_powers(self, hops: int) -> Tensor:
        x = self.x.dense() if isinstance(self.x, Sparse) else self.x
        rows = [x[self.nodes]]
        for _ in range(hops):
            x = self.propagation @ x
            rows.append(x[self.nodes])
        return torch.stack(rows)

    def tensors(self) -> TensorDict:
        out: TensorDict = {"y": self.y, "mask": self.mask}
        for name, value in (("x", self.x), ("adjacency", self.adjacency)):
            if isinstance(value, Sparse):
                out[f"{name}.index"], out[f"{name}.values"] = value.coo()
                out[f"{name}.shape"] = torch.tensor(value.shape)
            else:
                out[name] = value
        return out

    def learnable(self) -> TensorDict:
        """`x` and, unless it is sparse (a fixed structure), `adjacency`."""
        pairs = (("x", self.x), ("adjacency", self.adjacency))
        return {name: value for name, value in pairs if isinstance(value, Tensor)}

    def replace(self, **tensors: Tensor | Sparse) -> Self:
        structure = ("_propagation", "_degree") if "adjacency" not in tensors else ()
        kept = (*structure, *(("_nodes",) if "mask" not in tensors else ()))
        known = {name: getattr(self, name) if name in kept else None for name in ("_propagation", "_degree", "_nodes")}
        return replace(self, **tensors, **known)  # pyright: ignore[reportArgumentType]

    def project(self) -> Self:
        """Symmetric weights in [0, 1] with an empty diagonal; features are free."""
        if isinstance(self.adjacency, Sparse):
            return self
        weights = ((self.adjacency + self.adjacency.T) / 2).clamp(0, 1)
        return self.replace(adjacency=weights - torch.diag(weights.diag()))

    def take(self, index: Tensor) -> Self:
        """The induced subgraph on `index`, dense, with self-loops and multiplicities dropped."""
        x = self.x.rows(index).dense() if isinstance(self.x, Sparse) else self.x[index]
        adjacency = self.adjacency
        square = adjacency.submatrix(index) if isinstance(adjacency, Sparse) else adjacency[index][:, index]
        return replace(self, x=x, adjacency=square, y=self.y[index], mask=self.mask[index], _propagation=None, _degree=None, _nodes=None)

    def only(self, mask: Tensor) -> Self:
        """The same graph with only `mask` [n] in the loss and every other label hidden."""
        return replace(self, mask=mask, y=torch.where(mask, self.y, HIDDEN), _nodes=None)

    def thinned(self, neighbours: int, generator: torch.Generator) -> Self:
        """The same graph whose propagation reads at most `neighbours` random neighbours of a node.

        A node of more neighbours draws `neighbours` of them with replacement, each weighted by degree / `neighbours`, so
        that a product with the result is an unbiased estimate of one with Â, at a cost that does not grow with the
        degrees (GraphSAGE's sampling, Hamilton et al. 2017). A dense graph stays as it is.
        """
        if not isinstance(self.adjacency, Sparse):
            return self
        if neighbours < 1:
            raise DataError("neighbours", neighbours, "must be at least 1", "read all of them with None")
        return replace(self, _propagation=_thinned(self.adjacency, self.degree, neighbours, generator))

    def to(self, device: torch.device | str) -> Self:
        moved: dict[str, Any] = {
            name: getattr(self, name).to(device) for name in ("x", "adjacency", "y", "mask", "_propagation", "_degree", "_nodes")
        }
        return replace(self, **moved)


def _once(kept: dict[Hashable, Tensor], key: Hashable, make: Callable[[], Tensor]) -> Tensor:
    """What is `kept` under `key`, made first where there is none; what is made inside of a transform is not kept."""
    if key in kept:
        return kept[key]
    made = make()
    if has_memory(made):
        kept[key] = made
    return made


def propagated(data: GraphData, hops: int) -> Tensor:
    """Â^hops X, dense [m, d], at the nodes that enter the loss of `data`."""
    x = data.x.dense() if isinstance(data.x, Sparse) else data.x
    for _ in range(hops):
        x = data.propagation @ x
    return x[data.nodes]


def graph_splits(
    x: Tensor | Sparse, edge_index: Tensor, y: Tensor, train: Tensor, val: Tensor, test: Tensor, num_classes: int | None = None
) -> Splits[GraphData]:
    """Checked `Splits` of one transductive graph from `edge_index` [2, E] and three masks [n].

    Edges are made symmetric and unique and self-loops are dropped (the propagation adds its own). Raises `DataError`
    for features that are not finite, labels out of range, edges to nodes that are not there, masks that overlap,
    and a class without a training node.
    """
    if y.ndim != 1 or y.numel() == 0:
        raise DataError("y", tuple(y.shape), "must have shape [n], one class a node", "flatten it if it is [n, 1]")
    n, y = int(y.shape[0]), y.long()
    classes = int(y.max()) + 1 if num_classes is None else num_classes
    _check(x, edge_index, y, (train, val, test), n, classes)
    adjacency = symmetric_adjacency(edge_index, n)
    whole = GraphData(x, adjacency, y, torch.ones(n, dtype=torch.bool), classes)
    return Splits(*(whole.only(mask.bool()) for mask in (train, val, test)))


def symmetric_adjacency(edge_index: Tensor, n: int) -> Sparse:
    """Binary symmetric [n, n] from directed edges [2, E], duplicates merged and self-loops dropped.

    The edge (i, j) is the number i n + j. The 2 E numbers are sorted in place, so that the peak is 32 E bytes beside
    `edge_index`; the answer takes 12 bytes an entry.
    """
    loops = edge_index[0] == edge_index[1]
    index = edge_index[:, ~loops] if bool(loops.any()) else edge_index
    numbers = torch.empty(2, index.shape[1], dtype=torch.long, device="cpu")
    for number, (row, column) in zip(numbers, ((index[0], index[1]), (index[1], index[0])), strict=True):
        number.copy_(row).mul_(n).add_(column.long())
    flat = numbers.view(-1)
    flat.numpy().sort()
    entries = torch.unique_consecutive(flat).to(here())
    crow = torch.searchsorted(entries, torch.arange(n + 1) * n)
    csr = torch.sparse_csr_tensor(crow, entries.remainder_(n), torch.ones(entries.numel()), (n, n), check_invariants=False)
    return Sparse(csr, symmetric=True)


def _row_sums(adjacency: Tensor | Sparse) -> Tensor:
    if isinstance(adjacency, Tensor):
        return adjacency.sum(-1)
    values = adjacency.csr.values()
    return adjacency.csr @ values.new_ones(adjacency.shape[1])


def _normalise(adjacency: Tensor | Sparse) -> Tensor | Sparse:
    if isinstance(adjacency, Sparse):
        return _normalise_sparse(adjacency)
    if not adjacency.requires_grad and not bool(adjacency.any()):
        return Sparse.identity(adjacency.shape[0], adjacency)
    loops = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype, device=adjacency.device)
    scale = loops.sum(-1).rsqrt()
    return scale.unsqueeze(-1) * loops * scale.unsqueeze(-2)


def _normalise_sparse(adjacency: Sparse) -> Sparse:
    """Entry (i, j) is (s_i s_j) w_ij in this order of products, so that a symmetric matrix stays so to the bit."""
    loops = adjacency.plus_identity()
    scale = (loops @ adjacency.csr.values().new_ones(adjacency.shape[0])).rsqrt()
    crow, col = loops.csr.crow_indices(), loops.csr.col_indices()
    values = torch.repeat_interleave(scale, crow.diff()).mul_(scale[col]).mul_(loops.csr.values())
    csr = torch.sparse_csr_tensor(crow, col, values, loops.shape, check_invariants=False)
    return Sparse(csr, symmetric=loops.T is loops)


def _thinned(adjacency: Sparse, weights: Tensor, neighbours: int, generator: torch.Generator) -> Sparse:
    csr, n = adjacency.csr, adjacency.shape[0]
    crow, degree = csr.crow_indices(), csr.crow_indices().diff()
    many = (degree > neighbours).nonzero().squeeze(1)
    offsets = (torch.rand((many.numel(), neighbours), generator=generator) * degree[many].unsqueeze(1)).long()
    drawn = (crow[many].unsqueeze(1) + offsets.clamp_max(degree[many].unsqueeze(1) - 1)).flatten()
    few = (degree <= neighbours).repeat_interleave(degree).nonzero().squeeze(1)
    row = torch.cat([many.repeat_interleave(neighbours), torch.arange(n).repeat_interleave(degree * (degree <= neighbours)), torch.arange(n)])
    kept = torch.cat([drawn, few])
    column = torch.cat([csr.col_indices()[kept], torch.arange(n)])
    weight = torch.cat([csr.values()[kept], torch.ones(n)])
    weight[: drawn.numel()] *= (degree[many] / neighbours).repeat_interleave(neighbours)
    scale = (weights + 1).rsqrt()
    return Sparse.from_coo(torch.stack([row, column]), scale[row] * weight * scale[column], (n, n))


def _check(x: Tensor | Sparse, edges: Tensor, y: Tensor, masks: tuple[Tensor, ...], n: int, classes: int) -> None:
    values = x.csr.values() if isinstance(x, Sparse) else x
    if len(x.shape) != 2 or x.shape[0] != n:
        raise DataError("x", tuple(x.shape), f"must have shape [{n}, d], a row for each label", "check the rows of `x` against `y`")
    if not x.shape[1]:
        raise DataError("x", tuple(x.shape), "must have one column or more", "give nodes a feature, as a column of ones")
    if not math.isfinite(largest(values)):
        count = int((~torch.isfinite(values)).sum())
        raise DataError("x", f"{count} NaN or infinite values", "features must be finite", "drop or impute them first")
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise DataError("edge_index", tuple(edges.shape), "must have shape [2, E]", "transpose it if it is [E, 2]")
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= n):
        raise DataError("edge_index", f"nodes {int(edges.min())}..{int(edges.max())}", f"nodes run from 0 to {n - 1}", "renumber the nodes")
    for name, mask in zip(("train_mask", "val_mask", "test_mask"), masks, strict=True):
        if tuple(mask.shape) != (n,):
            raise DataError(name, tuple(mask.shape), f"must have shape [{n}]", "give one boolean a node")
        if not bool(mask.any()):
            raise DataError(name, "all False", "must hold at least one node", "give a split with all three parts")
    if bool((masks[0] & masks[1] | masks[0] & masks[2] | masks[1] & masks[2]).any()):
        raise DataError("train_mask, val_mask, test_mask", "overlapping", "a node may be in one part only", "make the masks disjoint")
    used = y[masks[0] | masks[1] | masks[2]]
    if int(used.min()) < 0 or int(used.max()) >= classes:
        raise DataError("y", f"{int(used.min())}..{int(used.max())}", f"labels run from 0 to {classes - 1}", "renumber the classes")
    if classes < 2:
        raise DataError("y", f"{classes} class", "there must be two or more classes", "check that `y` holds the labels")
    if classes > n:
        raise DataError("y", f"{classes} classes", f"there are {n} nodes, and every class needs a training node", "renumber the classes")
    missing = sorted(set(range(classes)) - set(y[masks[0]].tolist()))
    if missing:
        remedy = "count the classes from 0" if missing == [0] else "add one or drop the class"
        raise DataError("train_mask", f"classes {missing} absent", "every class needs a training node", remedy)
