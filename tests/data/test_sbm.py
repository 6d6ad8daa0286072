"""The block model: its moments are those that were asked for, its name is its options, and bad options are refused."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import torch

from hcdc.data import BlockModel, GraphData, Splits, block_model, load
from hcdc.data.sbm import _sample
from hcdc.errors import DataError


def labels(splits: Splits[GraphData]) -> torch.Tensor:
    """All classes [n], in a model whose split leaves no node out."""
    return torch.stack([part.y for part in splits]).max(0).values


@pytest.mark.parametrize("homophily", [0.0, 0.05, 0.25, 0.8, 1.0])
def test_homophily_and_degree(homophily: float) -> None:
    splits = block_model(BlockModel(n=1500, classes=4, homophily=homophily, degree=12, features=2, labelled=50))
    adjacency, y = splits.train.adjacency, labels(splits)
    (row, column), values = adjacency.coo()
    assert (y >= 0).all()
    assert (values == 1).all()
    assert (row != column).all()
    assert torch.equal(adjacency.dense(), adjacency.dense().T)
    assert float((y[row] == y[column]).float().mean()) == pytest.approx(homophily, abs=0.02)
    assert adjacency.nnz / 1500 == pytest.approx(12, rel=0.05)


def test_every_pair_of_a_kind_is_equally_likely() -> None:
    """Of 400 drawn graphs on 7 nodes, in classes of 3, 2 and 2, against p = 0.45 within and 0.3 between, 5 deviations."""
    within, between = 5, 16
    edges = 0.45 * within + 0.3 * between
    counts, total = torch.zeros(2, dtype=torch.float64), 400
    for seed in range(total):
        model = BlockModel(n=7, classes=3, homophily=0.45 * within / edges, degree=2 * edges / 7, features=1, labelled=1, seed=seed)
        assert model.pairs == (within, between)
        splits = block_model(model)
        y, adjacency = labels(splits), splits.train.adjacency.dense()
        assert torch.bincount(y).tolist() == [3, 2, 2]
        same = y[:, None] == y[None, :]
        counts += torch.stack([adjacency[same].sum(), adjacency[~same].sum()]) / 2
    found = counts / total / torch.tensor([within, between])
    torch.testing.assert_close(found, torch.tensor([0.45, 0.3], dtype=torch.float64), atol=0.06, rtol=0)


@pytest.mark.parametrize("p", [0.003, 0.3, 0.9, 1.0])
def test_places_are_drawn_one_by_one(p: float) -> None:
    """Distinct, in order, in range, p of them, and as many in each tenth."""
    total = 40_000
    places = _sample(total, p, np.random.default_rng(0))
    assert (np.diff(places) > 0).all()
    assert 0 <= places[0] <= places[-1] < total
    deviation = np.sqrt(total / 10 * p * (1 - p))
    assert (abs(np.bincount(places // (total // 10), minlength=10) - total / 10 * p) <= 5 * deviation).all()


@pytest.mark.parametrize("p", [0.0, 1e-12, 1e-300])
def test_next_to_nothing_is_drawn_of_next_to_nothing(p: float) -> None:
    assert _sample(10_000, p, np.random.default_rng(0)).size == 0


def test_features_are_class_means_and_noise() -> None:
    splits = block_model(BlockModel(n=1500, classes=3, features=6, signal=5.0, labelled=100))
    x, y = splits.train.x, labels(splits)
    for label in range(3):
        own = x[y == label]
        assert float(own.mean(0).norm()) == pytest.approx(5, abs=0.35)
        torch.testing.assert_close(own.T.cov(), torch.eye(6), atol=0.25, rtol=0)


def test_split() -> None:
    splits = block_model(BlockModel(n=2000, labelled=20))
    assert [int(part.mask.sum()) for part in splits] == [100, 500, 1000]
    assert torch.bincount(splits.train.labels()).tolist() == [20] * 5
    small = block_model(BlockModel(n=103, labelled=20))
    assert [int(part.mask.sum()) for part in small] == [100, 1, 2]
    assert torch.bincount(labels(block_model(BlockModel(n=302, classes=3, labelled=10)))).tolist() == [101, 101, 100]


def test_the_seed_is_the_graph_and_signal_leaves_it() -> None:
    first, again = load("synthetic:sbm,n=300,seed=3"), load("synthetic:sbm,n=300,seed=3")
    assert first.sha256 == again.sha256
    assert (first.name, first.kind) == ("synthetic:sbm,n=300,seed=3", "graph")
    assert load("synthetic:sbm,n=300,seed=4").sha256 != first.sha256
    louder = load("synthetic:sbm,n=300,seed=3,signal=9").splits
    for one, two in zip(first.splits, louder, strict=True):
        assert torch.equal(one.adjacency.dense(), two.adjacency.dense())
        assert torch.equal(one.y, two.y)
        assert not torch.equal(one.x, two.x)


def test_the_name_gives_every_option() -> None:
    name = "synthetic:sbm,n=900,classes=6,homophily=0.1,degree=4.5,features=3,signal=2,labelled=7,seed=8"
    assert BlockModel.parse(name) == BlockModel(900, 6, 0.1, 4.5, 3, 2.0, 7, 8)
    assert BlockModel.parse("synthetic:sbm") == BlockModel()


BAD = {
    "unknown": ("nodes=3", "nodes", "is no option"),
    "empty": ("", "", "is no option"),
    "no value": ("n", "n", "whole number"),
    "text": ("n=many", "n", "whole number"),
    "fraction": ("classes=2.5", "classes", "whole number"),
    "no number": ("degree=x", "degree", "must be a number"),
    "twice": ("n=300,n=300", "n", "given twice"),
    "not a number": ("homophily=nan", "homophily", "between 0 and 1"),
    "share above one": ("homophily=1.5", "homophily", "between 0 and 1"),
    "no edges": ("degree=0", "degree", "positive"),
    "endless degree": ("degree=inf", "degree", "finite"),
    "more edges than pairs": ("n=200,degree=150", "degree", "exceed"),
    "more edges than pairs between": ("n=200,homophily=0,degree=190", "degree", "exceed"),
    "one class": ("classes=1", "classes", "from 2 up"),
    "no features": ("features=0", "features", "from 1 up"),
    "negative seed": ("seed=-1", "seed", "from 0 up"),
    "negative signal": ("signal=-1", "signal", "not negative"),
    "signal past float32": ("n=300,signal=1e40", "x", "finite"),
    "too few nodes": ("n=102", "n", "need more nodes"),
    "fewer nodes than classes": ("n=3", "n", "need more nodes"),
    "too many nodes": ("n=3000000000", "n", "32 bits"),
    "digits without end": (f"n={'9' * 5000}", "n", "whole number"),
}


@pytest.mark.parametrize(("options", "named", "rule"), BAD.values(), ids=BAD)
def test_bad_options(options: str, named: str, rule: str) -> None:
    with pytest.raises(DataError, match=rule) as caught:
        load(f"synthetic:sbm,{options}")
    assert caught.value.argument == named
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", ["n=300,features=1000000000000000", "n=2000000000", "n=1000000,degree=90000"])
def test_a_graph_past_the_memory_is_refused_before_it_is_drawn(options: str) -> None:
    began = time.perf_counter()
    with pytest.raises(DataError, match=r"`n` = .* need about .* GiB, of .* GiB"):
        load(f"synthetic:sbm,{options}")
    assert time.perf_counter() - began < 1


DRAWN = """
import resource, sys
from hcdc.data import BlockModel, block_model
model = BlockModel.parse(sys.argv[1])
block_model(model)
print(model.memory, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("options", ["n=6000,degree=600,features=8", "n=100000,degree=4,features=400"])
def test_the_memory_of_drawing_is_the_one_told(options: str) -> None:
    out = subprocess.run([sys.executable, "-c", DRAWN, f"synthetic:sbm,{options}"], capture_output=True, text=True, check=True)
    told, peak = map(float, out.stdout.split())
    assert 0.5 * told < peak < 1.5 * told


def test_other_models_are_not_known() -> None:
    for name in ("synthetic:sbmx", "synthetic:er", "synthetic:"):
        with pytest.raises(DataError, match="synthetic:sbm"):
            load(name)


def test_time_and_memory_are_those_of_the_edges() -> None:
    """60,000 nodes would take 3.6e9 pairs."""
    tracemalloc.start()
    began = time.perf_counter()
    splits = block_model(BlockModel(n=60_000, features=4, degree=8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert splits.train.adjacency.nnz / 60_000 == pytest.approx(8, rel=0.02)
    assert peak < 60_000 * 8 * 100
    assert time.perf_counter() - began < 20
