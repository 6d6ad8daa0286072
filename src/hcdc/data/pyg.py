"""Graphs from and to `torch_geometric.data.Data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hcdc.data.base import Splits
from hcdc.data.graphs import HIDDEN, GraphData, graph_splits
from hcdc.data.sparse import Sparse
from hcdc.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from torch_geometric.data import Data

FIELDS = ("edge_index", "y", "train_mask", "val_mask", "test_mask")


def from_pyg(data: Any) -> Splits[GraphData]:
    """`Splits` from any `torch_geometric.data.Data` with x, edge_index, y and the three masks.

    Raises `DataError` for a field that is absent, and for edges that are weighted, since those of real graphs are not.
    """
    for field in ("x", *FIELDS):
        if getattr(data, field, None) is None:
            raise DataError("data", f"no `{field}`", f"must have x, {', '.join(FIELDS)}", "add the field")
    check_unweighted(getattr(data, "edge_weight", None))
    x: Tensor = data.x.float()
    features = Sparse.from_dense(x) if x.ndim == 2 and (x != 0).float().mean() < 0.2 else x
    masks = (data.train_mask, data.val_mask, data.test_mask)
    return graph_splits(features, data.edge_index, data.y, *masks)


def check_unweighted(weights: Any) -> None:
    """Raise `DataError` for edges with weights, an array or a tensor, that are not all one."""
    if weights is not None and not bool((weights == 1).all()):
        given = f"{float(weights.min()):.4g}..{float(weights.max()):.4g}"
        raise DataError("edge_weight", given, "edges of a real graph have no weights", "drop the field, and all edges count alike")


def to_pyg(graph: GraphData | Splits[GraphData]) -> Data:
    """A `torch_geometric.data.Data` of one part, with `mask` [n], or of a whole graph, with `train_mask` and its sisters.

    Features are dense, edges stand in both directions, and labels outside of every mask are `HIDDEN` (-1). Edges whose
    weights are not all one, as those that were learned, have `edge_weight` [E]. Of a whole graph `from_pyg` is the
    inverse. Raises `DataError` for splits that are not of one graph.
    """
    try:
        from torch_geometric.data import Data
    except ImportError as error:
        raise MissingExtraError("torch_geometric", "graphs") from error
    if isinstance(graph, GraphData):
        return Data(**_edges(graph), x=_dense(graph.x), y=graph.y, mask=graph.mask, num_classes=graph.num_classes)
    if not all(_same(part.x, graph.train.x) and _same(part.adjacency, graph.train.adjacency) for part in graph):
        raise DataError("graph", "three graphs", "must be three parts of one graph", "give to_pyg one part after the other")
    y = torch.full_like(graph.train.y, HIDDEN)
    for part in graph:
        y = torch.where(part.mask, part.y, y)
    masks = {f"{name}_mask": part.mask for name, part in graph._asdict().items()}
    return Data(**_edges(graph.train), **masks, x=_dense(graph.train.x), y=y, num_classes=graph.train.num_classes)


def _same(one: Tensor | Sparse, other: Tensor | Sparse) -> bool:
    if one is other:
        return True
    if isinstance(one, Sparse) and isinstance(other, Sparse):
        return one.shape == other.shape and all(map(torch.equal, one.coo(), other.coo()))
    return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)


def _edges(graph: GraphData) -> dict[str, Tensor]:
    """`edge_index` [2, E] in row order, and `edge_weight` [E] unless all are one."""
    sparse = graph.adjacency if isinstance(graph.adjacency, Sparse) else Sparse.from_dense(graph.adjacency)
    index, weights = sparse.coo()
    return {"edge_index": index} | ({} if bool((weights == 1).all()) else {"edge_weight": weights})


def _dense(x: Tensor | Sparse) -> Tensor:
    return x.dense() if isinstance(x, Sparse) else x
