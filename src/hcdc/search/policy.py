"""Search by a policy that draws configurations and learns from their scores (Williams 1992)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hcdc._typing import Params
from hcdc.bilevel import WORST
from hcdc.errors import InputError
from hcdc.search.base import Objective, Trial, check_trials
from hcdc.spaces import seeded
from hcdc.store import Ledger


class Draw(NamedTuple):
    """One value an axis, by its number; the log-probability and the entropy of each decision [axes]."""

    choices: list[int]
    log_probability: Tensor
    entropy: Tensor


class Policy(Protocol):
    """Who decides. `lr` is of Adam, `memory` of the baseline, a moving average of rewards; `entropy` is what an entropy of 1
    is worth in reward; `points` values stand for a numeric axis; `batch` configurations are trained between two updates."""

    @property
    def lr(self) -> float: ...
    @property
    def memory(self) -> float: ...
    @property
    def entropy(self) -> float: ...
    @property
    def points(self) -> int: ...
    @property
    def batch(self) -> int: ...
    def init(self, options: Sequence[int], generator: torch.Generator) -> Params:
        """Parameters of a policy over axes with so many values each."""
        ...

    def draw(self, params: Params, options: Sequence[int], generator: torch.Generator) -> Draw: ...


def check_policy(policy: Policy) -> None:
    if not policy.lr > 0 or not 0 <= policy.memory < 1 or policy.entropy < 0:
        given = (policy.lr, policy.memory, policy.entropy)
        raise InputError("lr, memory, entropy", given, "must be positive, in [0, 1) and not negative", "leave them at their defaults")
    if policy.points < 2 or policy.batch < 1:
        raise InputError("points, batch", (policy.points, policy.batch), "must be at least 2 and 1", "use 5 and 1")


def explored(policy: Policy, objective: Objective, trials: int, seed: int, checkpoint: Path | None) -> tuple[Trial, ...]:
    """`trials` configurations drawn by the policy, which after each batch moves along
    mean_b sum_axes (R_b + entropy H - baseline) grad log pi, R = -score.

    The baseline moves towards the mean reward before it is taken off. A training that did not end in numbers teaches
    nothing. What was drawn before is not trained again. Only scores are kept in a folder: a resumed search draws again what it
    had drawn.
    """
    check_trials(trials)
    kept, generator = Ledger(checkpoint), seeded(seed)
    values = [(name, axis.grid(policy.points)) for name, axis in objective.space.axes.items()]
    options = [len(grid) for _, grid in values]
    params = {key: value.requires_grad_() for key, value in policy.init(options, generator).items()}
    optimiser = torch.optim.Adam(list(params.values()), lr=policy.lr)
    found: list[Trial] = []
    known: dict[str, tuple[Trial, ...]] = {}
    baseline: float | None = None
    while len(found) < trials:
        began = time.perf_counter()
        draws = [policy.draw(params, options, generator) for _ in range(min(policy.batch, trials - len(found)))]
        configs = [{name: grid[at] for at, (name, grid) in zip(draw.choices, values, strict=True)} for draw in draws]
        drawn = time.perf_counter() - began
        scored = known[str(configs)] if str(configs) in known else objective.trials(configs, seed, kept)
        known[str(configs)] = tuple(trial._replace(seconds=0.0) for trial in scored)
        began = time.perf_counter()
        lessons = [(draw, -trial.score) for draw, trial in zip(draws, scored, strict=True) if trial.score < WORST]
        if lessons:
            mean = sum(reward for _, reward in lessons) / len(lessons)
            baseline = mean if baseline is None else policy.memory * baseline + (1 - policy.memory) * mean
            _learn(optimiser, lessons, baseline, policy.entropy)
        share = (drawn + time.perf_counter() - began) / len(scored)
        found += [trial._replace(seconds=trial.seconds + share) for trial in scored]
    return tuple(found)


def _learn(optimiser: torch.optim.Optimizer, lessons: Sequence[tuple[Draw, float]], baseline: float, entropy: float) -> None:
    optimiser.zero_grad(set_to_none=True)
    terms = [draw.log_probability * (reward - baseline + entropy * draw.entropy.detach()) for draw, reward in lessons]
    (-torch.stack(terms).sum(1).mean()).backward()
    optimiser.step()


def decide(logits: Tensor, generator: torch.Generator) -> tuple[int, Tensor, Tensor]:
    """(value, its log-probability, the entropy) of one decision by `logits` [options]."""
    log_probabilities = logits.log_softmax(-1)
    probabilities = log_probabilities.exp()
    choice = int(torch.multinomial(probabilities.detach().cpu(), 1, generator=generator))
    return choice, log_probabilities[choice], -(probabilities * log_probabilities).sum()
