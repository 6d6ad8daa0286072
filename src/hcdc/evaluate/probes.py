"""A first look at an artefact: a few configurations that tell most, trained on S and on the full data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hcdc._progress import Progress
from hcdc._tensors import batch_size, ravel, take
from hcdc._typing import Hyper
from hcdc.bilevel import Recipe
from hcdc.condense import recipes_of, timed
from hcdc.data import Source
from hcdc.engine import Engine, local
from hcdc.errors import InputError
from hcdc.evaluate.evaluation import Judge, check_source
from hcdc.evaluate.retrain import measure, retrain, slices, trained
from hcdc.evaluate.verdict import light_of
from hcdc.models import ModuleProblem
from hcdc.spaces import Space
from hcdc.store import Condensed, Ledger, ProbeCard

SEED = 2718
"""Draws the candidates; neither a usual seed of a condensation nor that of `Judge`."""

CANDIDATES = 3
"""Candidates ranked on S for each probe."""

STEPS = 3
"""Steps of training that are timed."""

SHARE, LEAST = 0.5, 30.0
"""Share of the seconds of condensing that probing may take without being asked for, and seconds that it may in any case."""


@dataclass(frozen=True)
class Probe:
    """Ranks `CANDIDATES` times `configs` configurations on S, and judges `configs` of them from `seeds` seeds each.

    The ranking on S is cut into `configs` groups of equal size. Of each group the candidate is taken that is farthest, over
    the space, from those taken so far: the full trainings are spent neither on two configurations that S holds for equal
    nor on neighbours, while their places on S remain spread as evenly as those of all candidates. They are judged as `Judge`
    does, by the validation data; test data is not looked at.
    """

    configs: int = 12
    seeds: int = 2
    ledger: Ledger = field(default_factory=lambda: Ledger(None))
    engine: Engine = local

    def __post_init__(self) -> None:
        if self.configs < 6:
            raise InputError("configs", self.configs, "must be at least 6 for a ranking and its interval", "ask for 6 probes or more")
        if self.seeds < 2:
            raise InputError("seeds", self.seeds, "must be at least 2, as one has no ceiling", "ask for two seeds or more")

    def __call__(self, condensed: Condensed, source: Source, progress: Progress | None = None, problem: ModuleProblem | None = None) -> Condensed:
        """`condensed` with what the probes say in its card; raises as `Judge` does."""
        check_source(condensed, source)
        began, space = time.perf_counter(), condensed.space
        seed = SEED + (condensed.card.seed == SEED)
        drawn = space.distinct(CANDIDATES * self.configs, seed)
        recipe = recipes_of(condensed, problem)["condensed"]
        scores = retrain(recipe, space.relax_all(drawn), condensed.train, {"val": condensed.val}, seed=1000)
        probes = chosen(space, drawn, scores.loss["val"][0], min(self.configs, len(drawn)))
        judge = Judge(self.configs, self.seeds, seed, self.ledger, self.engine, thorough=False)
        facts = judge.of(probes, condensed, source, progress, problem).facts
        light, sentence = light_of(facts)
        told = f"As far as {len(probes)} probes tell: {sentence[0].lower()}{sentence[1:]}"
        known = {name: facts[name] for name in ProbeCard.model_fields if name in facts}
        card = ProbeCard(**known, light=light, sentence=told, seconds_probe=time.perf_counter() - began)
        return replace(condensed, card=condensed.card.model_copy(update={"probe": card}))

    def cost(self, condensed: Condensed, source: Source, problem: ModuleProblem | None = None) -> float:
        """Seconds that a call is expected to take: `STEPS` steps on S and on the full data, timed and multiplied out."""
        check_source(condensed, source)
        recipes, real = recipes_of(condensed, problem), source.splits.real
        hyper = condensed.space.relax_all(condensed.space.configs(self.configs, SEED))
        small = _seconds(recipes["condensed"], hyper, condensed.train, condensed.val)
        # On S: the candidates once, the probes and their floor from every seed.
        return (CANDIDATES + 2 * self.seeds) * small + self.seeds * _seconds(recipes["full"], hyper, real.train, real.val)


def probe_limit(condensed: Condensed) -> float:
    """Seconds that probing may take without being asked for."""
    return max(LEAST, SHARE * condensed.card.seconds)


def chosen(space: Space, drawn: Sequence[dict[str, float | int | str]], score: Tensor, count: int) -> list[dict[str, float | int | str]]:
    """Of each of `count` groups of equal size in the order of `score` [n], the configuration farthest from those before it.

    Distances are Euclidean between the points of the relaxed space, each coordinate of which runs from 0 to 1.
    """
    points = ravel(space.relax_all(drawn))
    low = points.amin(0)
    points = (points - low) / (points.amax(0) - low).clamp_min(1e-12)
    groups = score.argsort(stable=True).tensor_split(count)
    taken: list[int] = []
    for group in groups:
        near = torch.cdist(points[group], points[taken]).amin(1) if taken else -torch.cdist(points[group], points.mean(0, keepdim=True))[:, 0]
        taken.append(int(group[near.argmax()]))
    return [dict(drawn[at]) for at in taken]


def _seconds(recipe: Recipe, hyper: Hyper, train: Any, val: Any) -> float:
    """Seconds to train and measure the points of `hyper` once."""
    parts = slices(recipe, train, {"val": val}, batch_size(hyper))
    some = take(hyper, parts[0])
    few = recipe._replace(solver=replace(recipe.solver, steps=min(STEPS, recipe.solver.steps)))
    params = trained(few, some, train, 0)
    training = timed(lambda: trained(few, some, train, 0)) * recipe.solver.steps / few.solver.steps
    return len(parts) * (training + timed(lambda: measure(recipe.problem, params, some, val)))
