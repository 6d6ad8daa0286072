"""Graphs from and to `torch_geometric`: nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc.data import GraphData, Sparse, Splits, from_pyg, to_pyg
from hcdc.data.inductive import inductive
from hcdc.errors import DataError, MissingExtraError
from tests import small

pytest.importorskip("torch_geometric")
from torch_geometric.utils import to_dense_adj


def same(found: GraphData, expected: GraphData) -> bool:
    tensors = found.tensors()
    return tensors.keys() == expected.tensors().keys() and all(torch.equal(tensors[key], value) for key, value in expected.tensors().items())


def sparse(splits: Splits[GraphData]) -> Splits[GraphData]:
    """The same graph with few features that are not zero."""
    x: Any = splits.train.x
    features = Sparse.from_dense(torch.where(x > x.quantile(0.9), x, 0.0))
    return Splits(*(part.replace(x=features) for part in splits))


@pytest.mark.parametrize("splits", [small.graph(), sparse(small.graph())], ids=["dense features", "sparse features"])
def test_there_and_back(splits: Splits[GraphData]) -> None:
    data = to_pyg(splits)
    assert data.validate()
    assert not data.is_directed()
    found = from_pyg(data)
    assert all(same(part, expected) for part, expected in zip(found, splits, strict=True))
    assert found.train.num_classes == splits.train.num_classes


def learned(n: int = 7) -> GraphData:
    """A part of an artefact: dense, weighted, most of it without an edge, with a node that does not enter the loss."""
    generator = torch.Generator().manual_seed(0)
    weights = (torch.rand(n, n, generator=generator) - 0.6).clamp_min(0).triu(1)
    mask = torch.arange(n) > 0
    return GraphData(torch.randn(n, 3, generator=generator), weights + weights.T, torch.where(mask, torch.arange(n) % 3, -1), mask, 3)


def test_a_part_keeps_weights_labels_and_mask() -> None:
    part, data = learned(), to_pyg(learned())
    adjacency: Tensor = to_dense_adj(data.edge_index, edge_attr=data.edge_weight, max_num_nodes=part.size)[0]
    assert same(GraphData(data.x, adjacency, data.y, data.mask, data.num_classes), part)
    assert data.edge_index.shape[1] == int((part.adjacency > 0).sum()) > 0


def test_edges_that_are_all_one_have_no_weights() -> None:
    splits = small.graph()
    assert "edge_weight" not in to_pyg(splits.train)
    assert to_pyg(learned().replace(adjacency=torch.zeros(7, 7))).edge_index.shape == (2, 0)


def test_parts_of_three_graphs_are_given_one_by_one() -> None:
    splits = inductive(small.graph())
    with pytest.raises(DataError, match="three parts of one graph"):
        to_pyg(splits)
    assert int(to_pyg(splits.val).mask.sum()) == int(splits.val.mask.sum())


def again(value: Tensor | Sparse) -> Tensor | Sparse:
    return Sparse.from_coo(*value.coo(), tuple(value.shape)) if isinstance(value, Sparse) else value.clone()


@pytest.mark.parametrize("splits", [small.graph(), sparse(small.graph())], ids=["dense features", "sparse features"])
def test_equal_parts_need_not_share_their_memory(splits: Splits[GraphData]) -> None:
    apart = Splits(*(part.replace(x=again(part.x), adjacency=again(part.adjacency)) for part in splits))
    assert all(same(part, expected) for part, expected in zip(from_pyg(to_pyg(apart)), splits, strict=True))
    with pytest.raises(DataError, match="three parts of one graph"):
        to_pyg(apart._replace(val=apart.val.replace(x=apart.val.x @ torch.full((apart.val.num_features,) * 2, 0.5))))


def test_weights_of_real_edges_are_refused_and_not_dropped() -> None:
    data = to_pyg(small.graph())
    data.edge_weight = torch.ones(data.edge_index.shape[1])
    assert same(from_pyg(data).train, small.graph().train)
    data.edge_weight = data.edge_weight * 0.5
    with pytest.raises(DataError, match=r"`edge_weight` = '0\.5\.\.0\.5'"):
        from_pyg(data)


def test_without_the_extra_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_geometric.data", None)
    with pytest.raises(MissingExtraError, match=r"\.\[graphs\]"):
        to_pyg(small.graph())
