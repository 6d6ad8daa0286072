"""Node classification on one graph: containers, normalisation, induced subgraphs, checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from hcdc._tensors import TensorDict
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
    labels of the others; `mask` [n] bool.
    """

    x: Tensor | Sparse
    adjacency: Tensor | Sparse
    y: Tensor
    mask: Tensor
    num_classes: int

    @property
    def size(self) -> int:
        return int(self.y.shape[0])

    @property
    def num_features(self) -> int:
        return int(self.x.shape[1])

    @cached_property
    def nodes(self) -> Tensor:
        """Indices [m] of the nodes that enter the loss."""
        return self.mask.nonzero().squeeze(1)

    def labels(self) -> Tensor:
        return self.y[self.nodes]

    @cached_property
    def propagation(self) -> Tensor | Sparse:
        """D^-1/2 (A + I) D^-1/2, the normalised adjacency with self-loops of Kipf and Welling (2016)."""
        return _normalise_sparse(self.adjacency) if isinstance(self.adjacency, Sparse) else _normalise(self.adjacency)

    @cached_property
    def degree(self) -> Tensor:
        """Row sums [n] of `adjacency`, without self-loops."""
        values = self.adjacency.csr.values() if isinstance(self.adjacency, Sparse) else self.adjacency
        return (self.adjacency @ torch.ones(self.size, 1, dtype=values.dtype, device=values.device)).squeeze(1)

    def powers(self, hops: int) -> Tensor:
        """Â^k X for k = 0, ..., hops at the nodes that enter the loss: dense [hops + 1, m, d].

        Made once for this container and kept by it; a container with other tensors starts anew. While it is made, one
        dense [n, d] is held beside it.
        """
        if hops not in self._powers:
            x = self.x.dense() if isinstance(self.x, Sparse) else self.x
            rows = [x[self.nodes]]
            for _ in range(hops):
                x = self.propagation @ x
                rows.append(x[self.nodes])
            self._powers[hops] = torch.stack(rows)
        return self._powers[hops]

    @cached_property
    def _powers(self) -> dict[int, Tensor]:
        return {}

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
        return replace(self, **tensors)  # pyright: ignore[reportArgumentType]

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
        return replace(self, x=x, adjacency=square, y=self.y[index], mask=self.mask[index])

    def only(self, mask: Tensor) -> Self:
        """The same graph with only `mask` [n] in the loss and every other label hidden."""
        other = replace(self, mask=mask, y=torch.where(mask, self.y, HIDDEN))
        other.__dict__["propagation"] = self.propagation
        return other

    def to(self, device: torch.device | str) -> Self:
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in ("x", "adjacency", "y", "mask")}
        return replace(self, **moved)


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
    n = int(y.shape[0])
    classes = int(y.max()) + 1 if num_classes is None else num_classes
    _check(x, edge_index, y, (train, val, test), n, classes)
    adjacency = symmetric_adjacency(edge_index.long(), n)
    whole = GraphData(x, adjacency, y.long(), torch.ones(n, dtype=torch.bool), classes)
    return Splits(*(whole.only(mask.bool()) for mask in (train, val, test)))


def symmetric_adjacency(edge_index: Tensor, n: int) -> Sparse:
    """Binary symmetric [n, n] from directed edges [2, E], duplicates merged and self-loops dropped."""
    index = edge_index[:, edge_index[0] != edge_index[1]]
    both = torch.cat([index, index.flip(0)], 1)
    summed = torch.sparse_coo_tensor(both, torch.ones(both.shape[1]), (n, n), check_invariants=False).coalesce()
    return Sparse.from_coo(summed.indices(), torch.ones(summed.indices().shape[1]), (n, n))


def _normalise(adjacency: Tensor) -> Tensor:
    loops = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype, device=adjacency.device)
    scale = loops.sum(-1).rsqrt()
    return scale.unsqueeze(-1) * loops * scale.unsqueeze(-2)


def _normalise_sparse(adjacency: Sparse) -> Sparse:
    index, values = adjacency.coo()
    n = adjacency.shape[0]
    loops = torch.arange(n, device=index.device).repeat(2, 1)
    index, values = torch.cat([index, loops], 1), torch.cat([values, values.new_ones(n)])
    scale = values.new_zeros(n).index_add(0, index[0], values).rsqrt()
    return Sparse.from_coo(index, scale[index[0]] * values * scale[index[1]], (n, n))


def _check(x: Tensor | Sparse, edges: Tensor, y: Tensor, masks: tuple[Tensor, ...], n: int, classes: int) -> None:
    values = x.csr.values() if isinstance(x, Sparse) else x
    if len(x.shape) != 2 or x.shape[0] != n:
        raise DataError("x", tuple(x.shape), f"must have shape [{n}, d], a row for each label", "check the rows of `x` against `y`")
    if not bool(torch.isfinite(values).all()):
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
    missing = sorted(set(range(classes)) - set(y[masks[0]].tolist()))
    if missing:
        raise DataError("train_mask", f"classes {missing} absent", "every class needs a training node", "add one or drop the class")
