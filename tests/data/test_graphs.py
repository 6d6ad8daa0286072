"""Graphs: normalisation against a dense twin, what is hidden from whom, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.func import grad, vmap

from hcdc import on
from hcdc.data import HIDDEN, GraphData, Sparse, graph_splits, propagated, symmetric_adjacency
from hcdc.errors import DataError
from hcdc.models import PolyFilter
from tests.cases import BROKEN_GRAPHS, as_double, dense_graph, graph_tensors, normal, random_graph
from tests.reference.graphs import binary, normalised


def dense(matrix: Tensor | Sparse) -> Tensor:
    return matrix.dense() if isinstance(matrix, Sparse) else matrix


def test_splits_hold_the_graph_once_and_the_labels_in_parts() -> None:
    given_ = graph_tensors()
    splits = graph_splits(**given_)
    for name, part in splits._asdict().items():
        assert torch.equal(part.mask, given_[name])
        assert torch.equal(part.y[part.mask], given_["y"][given_[name]])
        assert (part.y[~part.mask] == HIDDEN).all(), f"{name} shows labels of others"
        assert torch.equal(part.labels(), part.y[part.nodes])
        assert part.adjacency is splits.train.adjacency
    assert (splits.train.size, splits.train.num_features, splits.train.num_classes) == (15, 5, 3)


def test_hidden_labels_stay_hidden() -> None:
    """Neither another mask nor a subgraph brings back a label that the container does not hold."""
    splits = random_graph()
    assert (splits.train.only(splits.val.mask).y == HIDDEN).all()
    assert (splits.train.take(splits.val.nodes).y == HIDDEN).all()
    assert (splits.train.tensors()["y"][splits.test.nodes] == HIDDEN).all()


@pytest.mark.parametrize("seed", range(3))
def test_sparse_normalisation(seed: int) -> None:
    data, given_ = as_double(random_graph(seed=seed).train), graph_tensors(seed=seed)
    expected = normalised(binary(given_["edge_index"], 15))
    assert isinstance(data.propagation, Sparse)
    torch.testing.assert_close(data.propagation.dense(), expected)


def test_dense_normalisation() -> None:
    data = as_double(dense_graph())
    torch.testing.assert_close(data.propagation, normalised(data.adjacency))


def test_isolated_nodes_propagate_to_themselves() -> None:
    arguments = graph_tensors() | {"edge_index": torch.zeros(2, 0, dtype=torch.long)}
    data = graph_splits(**arguments).train
    assert torch.equal(dense(data.propagation), torch.eye(15))


def test_normalisation_is_the_same_whoever_holds_the_graph() -> None:
    splits = random_graph()
    assert torch.equal(dense(splits.train.propagation), dense(splits.test.propagation))


@pytest.mark.parametrize("hops", [0, 1, 3])
@pytest.mark.parametrize("sparse_features", [True, False])
def test_propagated_features(hops: int, sparse_features: bool) -> None:
    val, given_ = as_double(random_graph().val), graph_tensors()
    whole = torch.linalg.matrix_power(normalised(binary(given_["edge_index"], 15)), hops) @ given_["x"].double()
    found = propagated(val.replace(x=Sparse.from_dense(val.x)) if sparse_features else val, hops)
    torch.testing.assert_close(found, whole[given_["val"]])


@pytest.mark.parametrize("sparse_features", [True, False])
def test_induced_subgraph(sparse_features: bool) -> None:
    splits, given_ = random_graph(), graph_tensors()
    data, index = splits.train, torch.tensor([9, 3, 0, 14])
    data = data.replace(x=Sparse.from_dense(given_["x"])) if sparse_features else data
    small = data.take(index)
    assert torch.equal(small.x, given_["x"][index])
    assert torch.equal(small.adjacency.double(), binary(given_["edge_index"], 15)[index][:, index])
    assert small.y.tolist() == [0, HIDDEN, 0, HIDDEN]
    assert small.mask.tolist() == [True, False, True, False]
    assert torch.equal(small.take(torch.tensor([2, 0])).adjacency, small.adjacency[[2, 0]][:, [2, 0]])


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=9, max_size=9))
def test_project_makes_a_graph_of_any_weights(weights: list[float]) -> None:
    square = torch.tensor(weights).reshape(3, 3)
    data = GraphData(torch.zeros(3, 1), square, torch.arange(3), torch.ones(3, dtype=torch.bool), 3).project()
    assert torch.equal(data.adjacency, data.adjacency.T)
    assert (data.adjacency.diag() == 0).all()
    assert ((data.adjacency >= 0) & (data.adjacency <= 1)).all()
    assert torch.equal(data.project().adjacency, data.adjacency), "not idempotent"


def test_project_keeps_what_is_valid() -> None:
    data, fixed = dense_graph(), random_graph().train
    assert torch.equal(data.project().adjacency, data.adjacency)
    assert torch.equal(data.project().x, data.x)
    assert fixed.project() is fixed


def test_learnable_is_what_is_dense() -> None:
    assert set(dense_graph().learnable()) == {"x", "adjacency"}
    train = random_graph().train
    assert set(train.learnable()) == {"x"}
    assert set(train.replace(x=Sparse.from_dense(train.x)).learnable()) == set()


def test_tensors_rebuild_a_dense_container() -> None:
    data = dense_graph()
    tensors = data.tensors()
    other = dense_graph(seed=1).replace(**tensors)
    assert all(torch.equal(value, other.tensors()[key]) for key, value in tensors.items())


def test_tensors_describe_a_sparse_container() -> None:
    train = random_graph().train
    found = train.tensors()
    assert torch.equal(Sparse.from_coo(found["adjacency.index"], found["adjacency.values"], (15, 15)).dense(), dense(train.adjacency))
    assert found["adjacency.shape"].tolist() == [15, 15]


def test_replacing_the_adjacency_renews_the_propagation() -> None:
    data = dense_graph()
    assert torch.equal(dense(data.replace(adjacency=torch.zeros(8, 8)).propagation), torch.eye(8))
    assert torch.equal(data.replace(adjacency=torch.zeros(8, 8, requires_grad=True)).propagation.detach(), torch.eye(8))
    assert not torch.equal(dense(data.propagation), torch.eye(8))


def test_to_moves_every_part() -> None:
    moved = dense_graph().to("meta")
    assert {value.device.type for value in moved.tensors().values()} == {"meta"}


@pytest.mark.parametrize(("change", "named"), BROKEN_GRAPHS.values(), ids=BROKEN_GRAPHS)
def test_broken_graphs_are_refused(change: Callable[[dict[str, Any]], dict[str, Any]], named: str) -> None:
    with pytest.raises(DataError, match=f"^`{named}` = ") as caught:
        graph_splits(**change(graph_tensors()))
    assert caught.value.argument == named
    assert caught.value.remedy


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_edges_of_every_kind_make_the_same_graph(dtype: torch.dtype) -> None:
    """Given once, twice, in one direction or both, with self-loops, in whatever integers."""
    arguments = graph_tensors()
    once = arguments["edge_index"]
    loops = torch.arange(15).repeat(2, 1)
    for edges in (once, torch.cat([once, once], 1), once.flip(0), torch.cat([once, once.flip(0), loops], 1)):
        data = graph_splits(**(arguments | {"edge_index": edges.to(dtype)})).train
        assert torch.equal(dense(data.adjacency).double(), binary(once, 15))


def test_the_adjacency_is_symmetric_and_knows_it() -> None:
    """The propagation too, to the bit; isolated nodes have an empty row."""
    arguments = graph_tensors() | {"edge_index": torch.tensor([[0, 5, 5, 2, 2], [5, 0, 7, 2, 9]])}
    data = graph_splits(**arguments).train
    for matrix in (data.adjacency, data.propagation):
        assert isinstance(matrix, Sparse)
        assert matrix.T is matrix
        assert torch.equal(matrix.dense(), matrix.dense().T)
    assert data.adjacency.coo()[0].tolist() == [[0, 2, 5, 5, 7, 9], [5, 9, 0, 7, 5, 2]]
    assert data.adjacency.csr.crow_indices().diff()[[1, 14]].tolist() == [0, 0]


def test_narrow_integers_do_not_overflow() -> None:
    """n squared is past 32 bits, the node numbers are within 16."""
    edges = torch.tensor([[32_767, 3, 32_767], [32_766, 32_767, 3]], dtype=torch.int16)
    adjacency = symmetric_adjacency(edges, 100_000)
    assert adjacency.coo()[0].tolist() == [[3, 32_766, 32_767, 32_767], [32_767, 32_767, 3, 32_766]]


def test_weights_and_loops_of_an_adjacency_of_ones_own() -> None:
    """The propagation of a sparse matrix is that of its dense twin, whatever its diagonal."""
    square = normal(6, 6, seed=0).abs() * (normal(6, 6, seed=1) > 0)
    square = square + square.T
    given_ = GraphData(normal(6, 2, seed=2), square, torch.zeros(6, dtype=torch.long), torch.ones(6, dtype=torch.bool), 1)
    for sparse in (Sparse.from_dense(square), Sparse(square.to_sparse_csr(), symmetric=True)):
        torch.testing.assert_close(dense(given_.replace(adjacency=sparse).propagation), given_.propagation)


def test_labels_outside_of_all_parts_may_be_anything() -> None:
    arguments = graph_tensors()
    arguments["test"][8] = False
    arguments["y"][8] = -7
    assert graph_splits(**arguments).test.size == 15


def test_sparse_features_are_checked_too() -> None:
    x = graph_tensors()["x"]
    x[2, 1] = float("nan")
    with pytest.raises(DataError, match=r"^`x` = '1 NaN"):
        graph_splits(**(graph_tensors() | {"x": Sparse.from_dense(x)}))


def test_symmetric_adjacency_lies_on_the_device_of_the_block() -> None:
    with on("meta"):
        assert symmetric_adjacency(torch.tensor([[0, 1], [1, 2]], device="cpu"), 3).csr.device.type == "meta"


def test_symmetric_adjacency_of_no_edges() -> None:
    assert symmetric_adjacency(torch.zeros(2, 0, dtype=torch.long), 4).nnz == 0


def test_the_given_tensors_are_not_written_to() -> None:
    arguments = graph_tensors()
    kept = {name: value.clone() for name, value in arguments.items()}
    graph_splits(**arguments)
    assert all(torch.equal(arguments[name], value) for name, value in kept.items())


def test_gradients_reach_a_learned_adjacency() -> None:
    data = as_double(dense_graph())
    leaf = data.adjacency.clone().requires_grad_()
    x = normal(8, 2, seed=0)
    assert torch.autograd.gradcheck(lambda a: data.replace(adjacency=a).propagation @ x, leaf)


def test_a_thinned_graph_is_an_unbiased_estimate() -> None:
    data = graph_splits(**graph_tensors(seed=1)).train
    exact, generator = data.propagation.dense(), torch.Generator().manual_seed(0)
    draws = torch.stack([dense(data.thinned(2, generator).propagation) for _ in range(4000)])
    torch.testing.assert_close(draws.mean(0), exact, rtol=0, atol=0.03)
    assert (draws != exact).any()
    off_diagonal = draws - torch.diag_embed(draws.diagonal(dim1=1, dim2=2))
    assert int((off_diagonal != 0).sum(2).max()) <= 2


def test_a_graph_without_large_degrees_is_not_thinned() -> None:
    data = graph_splits(**graph_tensors()).train
    most = int(data.adjacency.csr.crow_indices().diff().max())
    torch.testing.assert_close(dense(data.thinned(most, torch.Generator()).propagation), dense(data.propagation))
    assert dense_graph().thinned(1, torch.Generator()).propagation.shape == (dense_graph().size, dense_graph().size)
    with pytest.raises(DataError, match="`neighbours` = 0"):
        data.thinned(0, torch.Generator())


def test_first_used_inside_a_transform_a_graph_can_be_used_after_it() -> None:
    """A tensor that is made within `torch.func.grad` and kept would be of no use outside."""
    problem, data = PolyFilter(3, num_features=5, hidden=4), as_double(dense_graph())
    params = {name: value.double() for name, value in problem.init({}, torch.Generator().manual_seed(0)).items()}
    filters = {"filter": torch.ones(2, 4, dtype=torch.float64)}
    batch = {name: torch.stack([value, value]) for name, value in params.items()}
    for fresh in (data.replace(), data.replace(adjacency=torch.zeros_like(data.adjacency)), graph_splits(**graph_tensors()).val):
        if isinstance(fresh.adjacency, Sparse):
            batch, filters = ({name: value.float() for name, value in part.items()} for part in (batch, filters))
        inside = vmap(grad(lambda p, h, graph=fresh: problem.inner(p, h, graph)))(batch, filters)
        leaves = {name: value[0].clone().requires_grad_() for name, value in batch.items()}
        problem.inner(leaves, {"filter": filters["filter"][0]}, fresh).backward()
        for name, leaf in leaves.items():
            torch.testing.assert_close(inside[name][0], leaf.grad)
