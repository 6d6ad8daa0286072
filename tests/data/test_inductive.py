"""Inductive splits: each part sees what it may, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hcdc.data import Sparse, graph_splits, load, propagated
from hcdc.data.inductive import inductive
from hcdc.errors import DataError
from hcdc.evaluate import Judge
from hcdc.run import condense_source, task_for
from tests import small
from tests.cases import graph_tensors


@pytest.mark.parametrize("sparse_features", [True, False])
def test_parts_are_induced_subgraphs(sparse_features: bool) -> None:
    tensors = graph_tensors()
    if sparse_features:
        tensors |= {"x": Sparse.from_dense(tensors["x"])}
    before = graph_splits(**tensors)
    after = inductive(before)
    whole = before.train.adjacency.dense()
    for part, seen in ((0, before.train.mask), (1, before.train.mask | before.val.mask), (2, torch.ones(before.train.size, dtype=torch.bool))):
        found, index = after[part], seen.nonzero().squeeze(1)
        torch.testing.assert_close(found.adjacency.dense(), whole[index][:, index])
        assert torch.equal(found.labels(), before[part].labels())
        assert torch.equal(index[found.nodes], before[part].nodes)
        rows = found.x.dense() if isinstance(found.x, Sparse) else found.x
        expected = before.train.x.dense() if isinstance(before.train.x, Sparse) else before.train.x
        assert torch.equal(rows, expected[index])


def test_training_does_not_read_the_features_of_others() -> None:
    tensors = graph_tensors()
    one = inductive(graph_splits(**tensors)).train
    tensors["x"] = torch.where(tensors["train"].unsqueeze(1), tensors["x"], 7.0)
    other = inductive(graph_splits(**tensors)).train
    torch.testing.assert_close(propagated(one, 3), propagated(other, 3))


def test_the_prefix_of_a_name_makes_a_source_inductive(tmp_path: Path) -> None:
    path = small.npz(tmp_path)
    source = load(f"inductive:{path}")
    assert (source.name, source.kind) == (f"inductive:{path}", "graph")
    assert [part.size for part in source.splits] == [30, 60, 90]
    assert source.sha256 != load(path).sha256
    with pytest.raises(DataError, match="only graphs"):
        load("inductive:digits")


def test_an_artefact_remembers_that_it_is_inductive(tmp_path: Path) -> None:
    source = load(f"inductive:{small.npz(tmp_path)}")
    made = condense_source(source, task_for(source, size=9, order=2), small.METHODS["hcdc"])
    assert made.card.data.name == source.name
    facts = Judge(configs=6, seeds=1)(made, load(made.card.data.name)).facts
    assert facts["nodes"] == 9
