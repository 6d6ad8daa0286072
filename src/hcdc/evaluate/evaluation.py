"""Judge an artefact: ranking on the condensed set against ranking on the full data, ceilings, floors, and the bill."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from hcdc._progress import Progress
from hcdc._tensors import batch_size, take
from hcdc._typing import Hyper
from hcdc.condense import CENTROIDS, RANDOM, STRONG, Budget, Coreset, Task, recipes_of
from hcdc.data import Source, check_spread
from hcdc.engine import Engine, local
from hcdc.errors import InputError
from hcdc.evaluate.ranking import (
    better_half,
    bootstrap,
    ceiling,
    kendall,
    regret,
    spearman,
)
from hcdc.evaluate.retrain import retrain, slices
from hcdc.evaluate.scores import Scores
from hcdc.models import ModuleProblem, batch_of
from hcdc.store import Condensed, Ledger, numerics

RecipeName = Literal["condensed", "full"]

FLOORS: dict[str, tuple[Coreset, Coreset]] = {"floor_random": (RANDOM, RANDOM), "floor_strong": (CENTROIDS, STRONG)}
"""What costs nothing, (to train on, to validate on). Random is the paper's: nodes drawn uniformly, induced subgraphs. Strong
is the best of those tried: centroids of propagated features (on images, of pixels), and propagated features of random
validation nodes (images as they are), class proportions kept."""


@dataclass(frozen=True)
class Evaluation:
    """All that was measured: `facts` has the keys of `hcdc evaluate --json`, the scores are [seeds, configs]."""

    facts: dict[str, Any]
    configs: list[dict[str, float | int | str]]
    condensed: Scores
    full: Scores
    floors: dict[str, Scores]

    def __repr__(self) -> str:
        figures = ("configs", "seeds", "spearman_loss", "ceiling_loss", "floor_strong_loss", "regret_top1", "break_even_configs")
        return f"Evaluation({', '.join(f'{name}={self.facts[name]}' for name in figures if name in self.facts)})"


@dataclass(frozen=True)
class Judge:
    """`configs` different configurations drawn with `config_seed`, or all of a space that has fewer, trained from each of `seeds`
    seeds, on S and on the full data.

    Expensive results are kept in `ledger` seed by seed. `engine` does the trainings; the figures do not depend on it, but
    for the seconds, which are those of its workers. `thorough=False` leaves out the random floor and never looks at test
    data.
    """

    configs: int = 80
    seeds: int = 5
    config_seed: int = 123
    ledger: Ledger = field(default_factory=lambda: Ledger(None))
    engine: Engine = local
    thorough: bool = True

    def __post_init__(self) -> None:
        if self.configs < 4:
            raise InputError("configs", self.configs, "must be at least 4 for a ranking and its better half", "ask for 4 or more")
        if self.seeds < 1:
            raise InputError("seeds", self.seeds, "must be at least 1", "ask for one seed or more")

    def __call__(self, condensed: Condensed, source: Source, progress: Progress | None = None, problem: ModuleProblem | None = None) -> Evaluation:
        """Raises `InputError` when `source` is not the data that `condensed` was made from.

        `problem` is the model of an artefact made with one of the user's own. Nothing of it is kept in the ledger, since
        two models cannot be told apart by their cards.
        """
        return self.of(condensed.space.distinct(self.configs, self.config_seed), condensed, source, progress, problem)

    def of(
        self,
        drawn: list[dict[str, float | int | str]],
        condensed: Condensed,
        source: Source,
        progress: Progress | None = None,
        problem: ModuleProblem | None = None,
    ) -> Evaluation:
        """The same of the configurations `drawn`, none of them twice."""
        check_source(condensed, source)
        check_members(len(drawn))
        ledger = self.ledger if problem is None else Ledger(None)
        space, recipes = condensed.space, recipes_of(condensed, problem)
        hyper = space.relax_all(drawn)

        def run(label: str, train: Any, judged_on: dict[str, Any], recipe: RecipeName, cause: dict[str, Any]) -> Scores:
            shared = {"recipe": recipes[recipe], "train": train, "judged_on": judged_on}
            key = cause | {"recipe": condensed.card.recipes[recipe], "configs": drawn, "versions": numerics()}
            told = None if progress is None else functools.partial(progress, label)
            return self._trained(shared, hyper, key, ledger, told)

        splits = source.splits
        judged = {"val": splits.val, "test": splits.test} if self.thorough else {"val": splits.val}
        if self.thorough:
            check_spread(splits.test, "test")  # the others the task checks
        if problem is not None:
            for part in (splits.train, *judged.values()):
                batch_of(part)  # outside of any transform, so that it is kept
        small = run("condensed set", condensed.train, {"val": condensed.val}, "condensed", {"data": condensed.fingerprint()})
        floors: dict[str, Scores] = {}
        budget, seed = Budget(**condensed.card.sizes), condensed.card.seed + 10_000
        task = Task(recipes["condensed"], recipes["full"], splits.real, space, budget, seed)
        for key, (first, second) in FLOORS.items() if self.thorough else [("floor_strong", FLOORS["floor_strong"])]:
            train = first.select(splits.train, budget.train, task.generator(1))
            val = second.select(splits.val, budget.val, task.generator(2))
            cause = {"data": source.sha256, "floor": repr((first, second)), "seed_of_floor": seed, **condensed.card.sizes}
            floors[key] = run(key, train, {"val": val}, "condensed", cause)
        looked_at = {} if self.thorough else {"judged_on": list(judged)}
        full = run("full data", splits.train, judged, "full", {"data": source.sha256} | looked_at)
        facts = compare(small, full, floors, condensed, self)
        return Evaluation(facts, drawn, small, full, floors)

    def _trained(
        self, shared: dict[str, Any], hyper: Hyper, cause: dict[str, Any], ledger: Ledger, told: Callable[[int, int], None] | None
    ) -> Scores:
        """`retrain` of `shared` from every seed that `ledger` lacks, the slices of all seeds handed to the engine at once."""
        keys = [cause | {"seed": seed} for seed in range(self.seeds)]
        known = [ledger.get(key) for key in keys]
        parts = slices(**shared, count=batch_size(hyper))
        missing = [seed for seed, scores in enumerate(known) if scores is None]
        items = [{"hyper": take(hyper, part), "seed": 1000 + seed} for seed in missing for part in parts]
        fresh = self.engine(retrain, shared, items)
        found: list[Scores] = []
        for seed, (key, scores) in enumerate(zip(keys, known, strict=True)):
            if scores is None:
                found.append(Scores.join(list(itertools.islice(fresh, len(parts))), 1))
                ledger.put(key, found[-1].to_json())
            else:
                found.append(Scores.from_json(scores))
            if told is not None:
                told(seed + 1, self.seeds)
        return Scores.join(found)


def compare(small: Scores, full: Scores, floors: dict[str, Scores], condensed: Condensed, judge: Judge) -> dict[str, Any]:
    """The figures of an evaluation, from its scores; those that cannot be had (one seed, a constant score) are None.

    Of a regression, R^2 stands where accuracy does, in the scores and, as "r2", in the names of the figures; "score" says
    which of the two it is.
    """
    truth, card = full.loss["val"].mean(0), condensed.card
    facts: dict[str, Any] = _correlations("spearman", small, full)
    facts["kendall_loss"] = kendall(small.loss["val"].mean(0), truth)
    facts["ci95"] = list(bootstrap(small.loss["val"], full.loss["val"]))
    facts["ceiling_loss"], facts["ceiling_accuracy"] = ceiling(full.loss["val"]), ceiling(full.accuracy["val"])
    halves = {"loss": full.loss["val"], "accuracy": full.accuracy["val"]}
    for key, values in halves.items():
        order = values.mean(0) if key == "loss" else -values.mean(0)
        facts[f"ceiling_top_half_{key}"] = ceiling(values[:, better_half(order)])
    facts["own_loss_against_accuracy"] = spearman(-truth, full.accuracy["val"].mean(0))
    for key, scores in floors.items():
        facts |= _correlations(key, better_read(scores, full), full)
    if "test" in full.accuracy:
        facts |= _pick(small.criterion["val"].mean(0), full.accuracy["test"].mean(0))
    facts |= bill(card.seconds, small.seconds, full.seconds, len(truth))
    unit = card.data.unit
    facts |= {"configs": len(truth), "seeds": judge.seeds, "config_seed": judge.config_seed}
    facts |= {unit: card.sizes["train"], f"{unit}_val": card.sizes["val"]}
    facts |= {"data": card.data.name, "method": card.method, "hardware": card.hardware}
    facts = {key: _known(value) for key, value in facts.items()}
    if card.data.num_classes:
        return facts
    return {key.replace("accuracy", "r2"): value for key, value in facts.items()} | {"score": "r2"}


def _pick(score: Tensor, test: Tensor) -> dict[str, Any]:
    """What the configuration with the lowest `score` [n] achieves by `test` [n], higher is better, beside the best."""
    picked = int(score.argmin())
    return {"picked_config": picked, "picked_test_accuracy": float(test[picked]), "best_test_accuracy": float(test.max()),
            "regret_top1": regret(score, test, 1), "regret_top5": regret(score, test, 5)}  # fmt: skip


def _known(value: Any) -> Any:
    """NaN and infinity, which JSON lacks, as None."""
    if isinstance(value, list):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def bill(condense: float, small: float, full: float, configs: int) -> dict[str, Any]:
    """Seconds of each part, and the number of configurations, trained as often as here, from which condensing has paid for
    itself (None: never)."""
    saved = (full - small) / configs
    return {
        "seconds_condense": condense,
        "seconds_search_condensed": small,
        "seconds_search_full": full,
        "break_even_configs": math.ceil(condense / saved) if saved > 0 else None,
    }


def check_source(condensed: Condensed, source: Source) -> None:
    wanted = condensed.card.data.sha256
    if source.sha256 != wanted:
        rule = f"must be the data of the artefact (SHA-256 {wanted[:12]}…, this has {source.sha256[:12]}…)"
        raise InputError("DATA", source.name, rule, "give the file or folder that it was condensed from")


def check_members(count: int) -> None:
    """Raise `InputError` where a space has so few configurations that there is nothing to rank."""
    if count < 4:
        rule = f"has {count} configurations in all, too few to rank"
        raise InputError("space", count, rule, "train each of them on the full data")


def better_read(scores: Scores, full: Scores) -> Scores:
    """`scores` with, for its criterion, its loss where that ranks the accuracy on T better: nothing calibrates what a floor is
    read by, so that it is given the better of the two."""
    accuracy = full.accuracy["val"].mean(0)
    of_loss, of_criterion = (spearman(-found["val"].mean(0), accuracy) for found in (scores.loss, scores.criterion))
    return scores if of_criterion >= of_loss else replace(scores, criterion=scores.loss)


def _correlations(prefix: str, small: Scores, full: Scores) -> dict[str, float]:
    """By loss, and of the criterion against accuracy; over all configurations and within the better half of each truth."""
    score = small.criterion["val"].mean(0)
    loss, truth, accuracy = small.loss["val"].mean(0), full.loss["val"].mean(0), full.accuracy["val"].mean(0)
    top_loss, top_accuracy = better_half(truth), better_half(-accuracy)
    return {
        f"{prefix}_loss": spearman(loss, truth),
        f"{prefix}_accuracy": spearman(-score, accuracy),
        f"{prefix}_top_half_loss": spearman(loss[top_loss], truth[top_loss]),
        f"{prefix}_top_half_accuracy": spearman(-score[top_accuracy], accuracy[top_accuracy]),
    }
