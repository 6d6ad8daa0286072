"""How well one score ranks what another ranks."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of [n] with [n]; NaN where one of them is constant."""
    from scipy import stats  # here, since loading it takes most of a second

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(stats.spearmanr(a.cpu().numpy(), b.cpu().numpy()).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def kendall(a: Tensor, b: Tensor) -> float:
    """Kendall's tau-b."""
    from scipy import stats

    return float(stats.kendalltau(a.cpu().numpy(), b.cpu().numpy()).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def better_half(truth: Tensor) -> Tensor:
    """Positions of the ceil(n / 2) lowest values of [n]."""
    return truth.argsort(stable=True)[: (truth.numel() + 1) // 2]


def bootstrap(a: Tensor, b: Tensor, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of Spearman's correlation over resampled configurations and seeds.

    `a` and `b` are [seeds, n]; each draw takes seeds and configurations with replacement and averages over the seeds.
    """
    random = np.random.default_rng(seed)
    found: list[float] = []
    for _ in range(draws):
        columns = torch.from_numpy(random.integers(0, a.shape[1], a.shape[1]))
        rows = [torch.from_numpy(random.integers(0, scores.shape[0], scores.shape[0])) for scores in (a, b)]
        found.append(spearman(a[rows[0]].mean(0)[columns], b[rows[1]].mean(0)[columns]))
    clean = np.asarray(found)[~np.isnan(found)]
    if clean.size == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(clean, [2.5, 97.5])
    return float(low), float(high)


def ceiling(scores: Tensor) -> float:
    """Mean over seeds of the correlation of that seed's scores with the mean of the others' [seeds, n].

    What one training on the full data a configuration achieves against the truth from other seeds; NaN for one seed.
    """
    seeds = scores.shape[0]
    if seeds < 2:
        return float("nan")
    # Not the sum less one of them: beside a training that diverged nothing would be left of the others.
    others = [torch.cat([scores[:s], scores[s + 1 :]]).mean(0) for s in range(seeds)]
    return float(np.mean([spearman(scores[s], others[s]) for s in range(seeds)]))


def regret(predicted: Tensor, test_accuracy: Tensor, top: int) -> float:
    """Best test accuracy of all less the best among the `top` with the lowest `predicted` [n]."""
    chosen = predicted.argsort(stable=True)[:top]
    return float(test_accuracy.max() - test_accuracy[chosen].max())
