"""Real examples: which are chosen, against exhaustive twins."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from hcdc.condense import CENTROIDS, HERDING, K_CENTER, PATHS, RANDOM, STRONG, Coreset
from hcdc.condense.coreset import FARTHEST, herding, k_center, kmeans, on_paths, sigma_points, trained_embedding, with_neighbours
from hcdc.errors import InputError
from tests import small

EVERY = {"random": RANDOM, "herding": HERDING, "k-center": K_CENTER, "strong": STRONG, "centroids": CENTROIDS}


def points(n: int = 30) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 3


def test_herding_follows_the_mean_greedily():
    x = points()
    chosen = herding(x, 6).tolist()
    assert len(set(chosen)) == 6
    for number in range(6):
        before, rest = chosen[:number], [index for index in range(30) if index not in chosen[:number]]
        errors = {index: float((x[[*before, index]].mean(0) - x.mean(0)).norm()) for index in rest}
        assert chosen[number] == min(errors, key=lambda index: errors[index])


def test_herding_beats_random_choices_at_the_mean():
    x = points()
    error = (x[herding(x, 5)].mean(0) - x.mean(0)).norm()
    draws = [torch.randperm(30, generator=torch.Generator().manual_seed(seed))[:5] for seed in range(50)]
    assert sum(bool((x[draw].mean(0) - x.mean(0)).norm() > error) for draw in draws) >= 48


def test_k_center_is_within_twice_the_best_cover():
    x = points(12)

    def radius(chosen: list[int]) -> float:
        return float(torch.cdist(x, x[chosen]).min(1).values.max())

    chosen = k_center(x, 3).tolist()
    assert chosen[0] == int((x - x.mean(0)).norm(dim=1).argmin())
    assert len(set(chosen)) == 3
    assert radius(chosen) <= 2 * min(radius(list(some)) for some in itertools.combinations(range(12), 3))


@pytest.mark.parametrize("kind", ["graph", "images"])
@pytest.mark.parametrize("name", [name for name in EVERY if name != "random"])
def test_classes_keep_their_proportions(name, kind):
    data = (small.graph() if kind == "graph" else small.images()).train
    if kind == "images" and name == "strong":
        pytest.skip("propagated features are those of a graph")
    chosen = EVERY[name].select(data, 9, torch.Generator().manual_seed(0))
    share = torch.bincount(data.labels()) / data.labels().numel()
    assert int(chosen.labels().numel()) == 9
    assert ((torch.bincount(chosen.labels()) - 9 * share).abs() < 1).all()


@pytest.mark.parametrize("method", [HERDING, K_CENTER], ids=lambda method: method.name)
def test_the_chosen_are_real_nodes_with_their_edges(method):
    data = small.graph().train
    chosen = method.select(data, 9, torch.Generator().manual_seed(0))
    rows = [int((data.x == row).all(1).nonzero()) for row in chosen.x]
    assert set(rows) <= set(data.nodes.tolist())
    torch.testing.assert_close(chosen.adjacency, data.adjacency.submatrix(torch.tensor(rows)))


@pytest.mark.parametrize("count", [4, 6, 9])
def test_centroids_of_few_different_rows_are_these_rows(count):
    """Where k-means would divide by the distance between copies."""
    x = points(4)[[0, 0, 0, 1, 2, 3, 3, 3, 3]]
    found = kmeans(x, count, 0)
    assert found.shape == (count, 4)
    assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in x.tolist()}


@pytest.mark.parametrize("method", [HERDING, K_CENTER], ids=lambda method: method.name)
def test_images_are_compared_by_a_trained_network(method):
    """Each class by its embedding, which keeps classes apart; the choice differs from that by pixels."""
    data = small.images().train
    by_pixels, embedded = (some.select(data, 9, torch.Generator().manual_seed(0)) for some in (method, replace(method, trained=30)))
    assert not torch.equal(by_pixels.x, embedded.x)
    again = replace(method, trained=30).select(data, 9, torch.Generator().manual_seed(0))
    assert torch.equal(embedded.x, again.x)
    x = trained_embedding(data, 60, torch.Generator().manual_seed(0))
    means = torch.stack([x[data.y == label].mean(0) for label in range(3)])
    assert (torch.cdist(x, means).argmin(1) == data.y).float().mean() > 0.9


@pytest.mark.parametrize("method", [HERDING, K_CENTER], ids=lambda method: method.name)
def test_images_of_a_regression_are_compared_by_their_pixels(method):
    data = replace(small.images().train, y=torch.linspace(0, 1, small.images().train.size), num_classes=0)
    by_pixels, asked = (some.select(data, 9, torch.Generator().manual_seed(0)) for some in (method, replace(method, trained=30)))
    assert torch.equal(by_pixels.x, asked.x)


@pytest.mark.parametrize("method", [HERDING, K_CENTER, CENTROIDS], ids=lambda method: method.name)
def test_a_class_that_is_not_there_is_left_out(method):
    data = small.images().train
    some = method.select(data.take((data.y != 1).nonzero().squeeze(1)), 8, torch.Generator().manual_seed(0))
    assert some.size == 8
    assert set(some.y.tolist()) == {0, 2}


@pytest.mark.parametrize("count", [8, 9, 14])
def test_sigma_points_keep_the_mean_and_the_covariance(count):
    x = points(50) @ torch.randn(4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = sigma_points(x, count)
    assert found.shape == (count, 4)
    torch.testing.assert_close(found.mean(0), x.mean(0))
    torch.testing.assert_close(torch.cov(found.T, correction=0), torch.cov(x.T, correction=0))


def test_few_sigma_points_keep_the_widest_directions():
    x = points(50) * torch.tensor([5.0, 1.0, 0.1, 0.1], dtype=torch.float64)
    found = torch.cov(sigma_points(x, 4).T, correction=0)
    torch.testing.assert_close(found, torch.cov(x.T, correction=0), atol=0.02, rtol=0.02)
    assert torch.linalg.matrix_rank(found) == 2


def test_a_centroid_is_a_mean_of_two_rows_at_least_on_average():
    """Where more are asked for, those of the largest clusters come again."""
    x = points(20)
    few, many = kmeans(x, 10, 0), kmeans(x, 17, 0)
    assert few.unique(dim=0).shape[0] == 10
    rows, counts = many.unique(dim=0, return_counts=True)
    assert rows.shape[0] == 10
    assert sorted(counts.tolist()) == [1] * 3 + [2] * 7
    members = torch.cdist(x, rows).argmin(1).bincount(minlength=10)
    assert members[counts == 2].min() >= members[counts == 1].max()


def test_neighbours_fill_up_with_neighbours_of_labelled_nodes():
    data = small.graph(n=150).train
    chosen = with_neighbours(data, 12, torch.Generator().manual_seed(0))
    assert len(set(chosen.tolist())) == 12
    part = Coreset(structure="neighbours").select(data, 12, torch.Generator().manual_seed(0))
    assert set(part.labels().tolist()) == {0, 1, 2}
    assert torch.equal(part.x, data.take(chosen).x)
    linked = part.adjacency.any(1)
    assert bool(linked[~part.mask].all())  # a node without a label is there for one that has one
    most = data.nodes.numel()
    assert with_neighbours(data, most, torch.Generator().manual_seed(0)).numel() == most


@pytest.mark.parametrize("order", [0, 1, 3, 4])
@pytest.mark.parametrize("spare", [0, 2])
def test_paths_have_the_features_of_every_hop(order, spare):
    """As many nodes as hops, or more, which the first paths take."""
    hops = torch.randn(3, order + 1, 5, generator=torch.Generator().manual_seed(0))
    made = on_paths(small.graph().train, hops, torch.tensor([2, 0, 1]), 3 * (order + 1) + spare)
    assert made.size == 3 * (order + 1) + spare
    assert made.labels().tolist() == [2, 0, 1]
    assert bool((made.y[~made.mask] == -1).all())
    torch.testing.assert_close(made.powers(order).movedim(0, 1), hops, atol=1e-4, rtol=1e-4)


def test_a_path_that_is_too_short_meets_the_hops_by_least_squares():
    hops = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0))
    made = on_paths(small.graph().train, hops, torch.tensor([0]), 2)

    def error(x: torch.Tensor) -> float:
        return float((made.replace(x=x).powers(3)[:, 0] - hops[0]).square().sum())

    nudges = torch.randn(20, *made.x.shape, generator=torch.Generator().manual_seed(1)) * 0.01
    assert all(error(made.x) < error(made.x + nudge) for nudge in nudges)


def test_paths_are_centroids_of_all_hops_together():
    """Of a class with one path, the mean of its nodes at every hop."""
    data = small.graph().train
    made = replace(PATHS, hops=2).select(data, 9, torch.Generator().manual_seed(0))
    assert made.size == 9
    assert made.labels().tolist() == [0, 1, 2]
    means = torch.stack([data.powers(2)[:, data.labels() == label].mean(1) for label in range(3)], 1)
    torch.testing.assert_close(made.powers(2), means, atol=1e-5, rtol=1e-4)


def test_no_path_is_longer_than_the_farthest_hop_nor_is_a_class_left_out():
    data = small.graph().train
    assert int(replace(PATHS, hops=20).select(data, 4 * (FARTHEST + 1), torch.Generator().manual_seed(0)).mask.sum()) == 4
    assert set(replace(PATHS, hops=3).select(data, 4, torch.Generator().manual_seed(0)).labels().tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"features": "centroid"}, "features"),
        ({"structure": "none"}, "structure"),
        ({"pick": "nearest"}, "pick"),
        ({"structure": "paths"}, "structure"),
        ({"features": "centroids", "trained": 5}, "trained"),
    ],
)
def test_what_no_coreset_is_is_refused(settings, name):
    with pytest.raises(InputError, match=f"`{name}`"):
        Coreset(**settings)
