"""Rank statistics against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from hcdc.bilevel import WORST
from hcdc.evaluate import better_half, bootstrap, ceiling, kendall, regret, spearman

RANDOM = torch.Generator().manual_seed(0)


def test_spearman_is_pearson_of_ranks():
    a, b = torch.rand(30, generator=RANDOM), torch.rand(30, generator=RANDOM)
    ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).double()
    assert spearman(a, b) == pytest.approx(float(torch.corrcoef(ranks)[0, 1]))


def test_kendall_counts_pairs():
    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])
    assert kendall(a, b) == pytest.approx(1 / 3)


def test_a_constant_score_has_no_correlation():
    assert math.isnan(spearman(torch.ones(5), torch.arange(5.0)))


def test_better_half_is_half_even_with_ties():
    assert better_half(torch.tensor([3.0, 1.0, 2.0, 4.0])).tolist() == [1, 2]
    assert len(better_half(torch.zeros(7))) == 4


def test_bootstrap_brackets_the_estimate_and_narrows():
    a = torch.rand(3, 40, generator=RANDOM)
    b = a + 0.3 * torch.rand(3, 40, generator=RANDOM)
    low, high = bootstrap(a, b, draws=300)
    assert low < spearman(a.mean(0), b.mean(0)) < high
    many = torch.rand(1, 400, generator=RANDOM)
    wide = bootstrap(many[:, :20], many[:, :20] + 0.5 * torch.rand(1, 20, generator=RANDOM), draws=200)
    narrow = bootstrap(many, many + 0.5 * torch.rand(1, 400, generator=RANDOM), draws=200)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_ceiling_is_one_without_noise_and_needs_two_seeds():
    scores = torch.rand(1, 20, generator=RANDOM).expand(3, 20)
    assert ceiling(scores) == pytest.approx(1)
    assert math.isnan(ceiling(scores[:1]))
    assert ceiling(torch.rand(4, 200, generator=RANDOM)) < 0.3


def test_of_equals_the_first_is_picked():
    test = torch.rand(80, generator=RANDOM)
    assert regret(torch.zeros(80), test, 1) == pytest.approx(float(test.max() - test[0]))


def test_one_training_that_diverged_does_not_hide_the_others():
    scores = torch.rand(3, 12, generator=RANDOM) + torch.arange(12.0)
    scores[0, -1] = WORST
    assert ceiling(scores) == pytest.approx(1)


def test_regret_of_the_best_is_zero_and_shrinks_with_more_chosen():
    test = torch.tensor([0.5, 0.9, 0.7, 0.8])
    predicted = torch.tensor([0.0, 0.4, 0.1, 0.2])
    assert [regret(predicted, test, top) for top in (1, 2, 3, 4)] == pytest.approx([0.4, 0.2, 0.1, 0.0])
