"""The guard: the best of a search, trained on the full data before one of them is chosen."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from hcdc._progress import Progress
from hcdc._typing import Config
from hcdc.bilevel import WORST
from hcdc.condense import recipes_of
from hcdc.data import Source
from hcdc.errors import InputError
from hcdc.evaluate.evaluation import check_source
from hcdc.evaluate.ranking import kendall
from hcdc.evaluate.retrain import retrain
from hcdc.evaluate.scores import Scores
from hcdc.models import ModuleProblem
from hcdc.search import Trial, ranked
from hcdc.spaces import Space
from hcdc.store import Condensed, Ledger, numerics

BEATEN = 2
"""Candidates in a row that must have lost to the first before those after them are taken to have lost too."""

ERRORS = 2.0
"""Standard errors of a difference by which one mean must be worse than another to have lost to it (95 % on two sides)."""


class Candidate(NamedTuple):
    """A trial on S, and what its configuration comes to on the real validation data from each seed (lower is better)."""

    trial: Trial
    real: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.real) / len(self.real)


@dataclass(frozen=True)
class Guarded:
    """What the guard found: `candidates` in the order of S, those that were trained of the `offered` ones, and the seconds that it
    took; `asked` is how many were to be trained, where there are so many."""

    candidates: tuple[Candidate, ...]
    seconds: float
    offered: int
    asked: int

    @property
    def stopped(self) -> bool:
        """Whether some of those that were offered could be left out."""
        return len(self.candidates) < self.offered

    @property
    def best(self) -> int:
        """Place in the order of S, from 0, of the lowest mean on the real validation data."""
        means = [each.mean for each in self.candidates]
        return means.index(min(means))

    @property
    def noise(self) -> float:
        """Standard deviation over seeds of one training, pooled over the candidates; those that diverged left out."""
        spreads = [torch.tensor(each.real, dtype=torch.float64).var().item() for each in self.candidates if max(each.real) < WORST]
        return math.sqrt(sum(spreads) / len(spreads)) if spreads else 0.0

    @property
    def recommended(self) -> Config:
        """The configuration with the lowest mean on the real validation data."""
        return self.candidates[self.best].trial.config

    def lost(self, one: int, other: int) -> bool:
        """Whether candidate `one` is worse than `other` by more than seeds explain: `ERRORS` noise sqrt(2 / seeds)."""
        first, second = self.candidates[one], self.candidates[other]
        return first.mean - second.mean > ERRORS * self.noise * math.sqrt(2 / len(first.real))

    def settled(self) -> bool:
        """Whether those that S ranks below the trained ones can be left out; the rule is in `Guard`."""
        last = len(self.candidates) - 1
        return last >= BEATEN and self.best == 0 and all(self.lost(place, 0) for place in range(last - BEATEN + 1, last + 1))

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as plain JSON; a correlation that cannot be had (one candidate, a tie of all) is None."""
        small, full = torch.tensor([each.trial.score for each in self.candidates]), torch.tensor([each.mean for each in self.candidates])
        tau = kendall(small, full) if small.numel() > 1 else float("nan")
        rows = [{"config": each.trial.config, "score": each.trial.score, "full": list(each.real)} for each in self.candidates]
        return {
            "trained": len(self.candidates),
            "offered": self.offered,
            "asked": self.asked,
            "seeds": len(self.candidates[0].real),
            "stopped_early": self.stopped,
            "first_held": self.best == 0,
            "first_within_noise": not self.lost(0, self.best),
            "kendall": tau if math.isfinite(tau) else None,
            "noise": self.noise,
            "recommended_place": self.best + 1,
            "recommended_config": self.recommended,
            "seconds": self.seconds,
            "candidates": rows,
        }


@dataclass(frozen=True)
class Guard:
    """Train the `keep` best different configurations of a search on the full data, in the order of S, from `seeds` seeds each.

    They are trained as the card's `full` recipe says and judged on the real validation data, by their error (1 - accuracy)
    where S is read by its soft accuracy, else by the recipe's criterion; test data is not looked at. The configuration with
    the lowest mean is recommended.

    The guard stops before the last when S's first is still the best and the `BEATEN` candidates trained last both lost
    to it by more than seeds explain. The reason: all that are left rank below these two on S, so one of them could win
    only if S had it wrong past two configurations that the full data tells from the best. That trusts S as far as it
    was just seen to be right, and is no proof; where the best lie within the noise of each other, all are trained.
    A search whose trials were ended early (`pruned`) offers only those that were not. Finished trainings are kept in
    `ledger`, and their seconds count whenever they were spent.
    """

    keep: int = 5
    seeds: int = 3
    ledger: Ledger = field(default_factory=lambda: Ledger(None))

    def __post_init__(self) -> None:
        if self.keep < 2:
            raise InputError("guard", self.keep, "must be at least 2, as one configuration has no order", "keep 2 or more")
        if self.seeds < 2:
            raise InputError("seeds", self.seeds, "must be at least 2, to tell noise from order", "ask for two seeds or more")

    def __call__(
        self,
        condensed: Condensed,
        source: Source,
        trials: Sequence[Trial],
        *,
        space: Space | None = None,
        progress: Progress | None = None,
        problem: ModuleProblem | None = None,
    ) -> Guarded:
        """`space` is the one that was searched (None: that of `condensed`); `problem` is the model of an artefact made with one of
        the user's own, of which nothing is kept in the ledger, as by `Judge`.

        Raises `InputError` when `source` is not the data that `condensed` was made from, or there is no trial to keep.
        """
        check_source(condensed, source)
        kept = best_different(trials, self.keep)
        if not kept:
            raise InputError("trials", len(trials), "must hold one that was not pruned", "search with more trials")
        by_accuracy = condensed.card.recipes["condensed"]["problem"].get("criterion") == "soft-accuracy"
        found = Guarded((), 0.0, len(kept), self.keep)
        for number, trial in enumerate(kept, 1):
            scores = self._scores(condensed, source, space or condensed.space, trial, problem)
            real = real_of(scores, by_accuracy)
            found = replace(found, candidates=(*found.candidates, Candidate(trial, real)), seconds=found.seconds + scores.seconds)
            if progress is not None:
                progress("the full data", number, len(kept))
            if number < len(kept) and found.settled():
                break
        return found

    def _scores(self, condensed: Condensed, source: Source, space: Space, trial: Trial, problem: ModuleProblem | None) -> Scores:
        """Of one configuration, [seeds, 1]."""
        card, parts, ledger = condensed.card.recipes["full"], list[Scores](), self.ledger if problem is None else Ledger(None)
        hyper = space.relax_all([trial.config])

        def trained(seed: int) -> dict[str, Any]:
            return retrain(recipes_of(condensed, problem)["full"], hyper, source.splits.train, {"val": source.splits.val}, seed=1000 + seed).to_json()

        for seed in range(self.seeds):
            cause = {"guard": trial.config, "data": source.sha256, "recipe": card, "seed": seed, "versions": numerics()}
            parts.append(Scores.from_json(ledger.kept(cause, functools.partial(trained, seed))))
        return Scores.join(parts)


def real_of(scores: Scores, by_accuracy: bool) -> tuple[float, ...]:
    """What a configuration's trainings, [seeds, 1], come to on the real validation data, lower is better; one that diverged is
    `WORST` by either measure, though it has the accuracy of a guess."""
    criterion = scores.criterion["val"]
    judged = torch.where(criterion < WORST, 1 - scores.accuracy["val"], criterion) if by_accuracy else criterion
    return tuple(float(value) for value in judged[:, 0])


def best_different(trials: Sequence[Trial], count: int) -> list[Trial]:
    """The first `count` of the ranked trials that were not pruned, each configuration once."""
    found: dict[tuple[tuple[str, float | int | str], ...], Trial] = {}
    for trial in ranked([trial for trial in trials if not trial.pruned]):
        found.setdefault(tuple(sorted(trial.config.items())), trial)
    return list(found.values())[:count]
