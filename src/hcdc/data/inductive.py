"""Splits in which training never sees the nodes that it is judged on."""

from __future__ import annotations

from torch import Tensor

from hcdc.data.base import Splits
from hcdc.data.graphs import GraphData
from hcdc.data.sparse import Sparse


def inductive(splits: Splits[GraphData]) -> Splits[GraphData]:
    """The same nodes, with what is not there yet left out (Hamilton et al. 2017).

    Training sees the subgraph of the training nodes, validation that of the training and validation nodes, the test the
    whole graph; in the transductive splits all three share one graph.
    """
    first, second, whole = splits
    seen = first.mask | second.mask
    return Splits(_subgraph(first, first.mask), _subgraph(second, seen), whole)


def _subgraph(data: GraphData, kept: Tensor) -> GraphData:
    index = kept.nonzero().squeeze(1)
    x = data.x.rows(index) if isinstance(data.x, Sparse) else data.x[index]
    adjacency = data.adjacency.sub(index) if isinstance(data.adjacency, Sparse) else data.adjacency[index][:, index]
    return GraphData(x, adjacency, data.y[index], data.mask[index], data.num_classes)
