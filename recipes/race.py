"""A race: processor seconds until a configuration within 1 % of the oracle is recommended, condensation included.

    python recipes/race.py --task cora                       # ten repetitions of five contestants, 60 s each
    python recipes/race.py --task digits --budget 40 --repetitions 10

hcdc         condenses, searches on the set, then trains the best of that search on the full data, in their order
random       random search on the full data
hyperband    Optuna's TPE with Hyperband's pruning on the full data
subset-tpe   Optuna's TPE on random real examples, as many as hcdc's set has, then as hcdc
halving      successive halving over data size: 27 configurations on a ninth of the data, 9 on a third, 3 on all of it, and
             again with others; as many epochs at every size

A contestant says at every moment which configuration it would recommend. Its clock is that of the processor (one
thread), since wall-clock depends on what else the machine does; both are kept. Outside of the clock, each recommendation
is trained on the full data from --judges other seeds and judged by the mean of its validation criterion. The oracle is
the best mean so judged among the ten best of a pool of --pool configurations, each trained once. *Found* is the moment
from which on the recommendation stays within 1 % of the oracle until the budget ends: by the criterion, at most 1.01
times the oracle's; by accuracy, at most one point of validation accuracy below it. Everything is kept in --out as it
comes: run again after an interruption and it goes on. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from kept import figures

from hcdc._typing import Config
from hcdc.condense import HCDC, Bank, Condenser, Coreset
from hcdc.condense.task import choose
from hcdc.data import GraphData, Real, Source, Sparse, load
from hcdc.evaluate import retrain
from hcdc.integrations.optuna import objective as optuna_objective
from hcdc.run import condense_source, method_named, task_for
from hcdc.search import Objective, Random, Searcher, Trial, ranked
from hcdc.store import hardware

WITHIN = 0.01
POOL_SEED, JUDGE_SEED = 90_000, 70_000
AT_ONCE = 8
"""Configurations that are trained together on the full data, where a contestant needs no score before the next."""
BEST = 10
"""Of the pool, judged again for the oracle."""


@dataclass(frozen=True)
class Ground:
    """Where a race is run: data, family and size of the set, and how hcdc condenses and searches there."""

    data: str
    size: int
    method: Callable[[str], Condenser]
    searcher: Searcher
    trials: int
    family: str | None = None


def quick(**bank: int) -> Callable[[str], Condenser]:
    """hcdc's own method for a kind of data, with a smaller bank."""

    def method(kind: str) -> Condenser:
        made = method_named("hcdc", kind)
        assert isinstance(made, HCDC)
        assert isinstance(made.driver, Bank)
        return replace(made, driver=replace(made.driver, **bank))

    return method


GROUNDS = {
    "cora": Ground("cora", 49, quick(starts=128, stages=1, steps=300, batch=32), Random(), 200),
    "pubmed": Ground("pubmed", 60, quick(starts=128, stages=1, steps=300, batch=32), Random(), 200),
    "appnp": Ground("cora", 49, quick(starts=64, stages=1, steps=200, batch=16), Random(), 96, "appnp"),
    "digits": Ground("digits", 50, quick(starts=32, steps=150), Random(), 64),
}
"""With banks below hcdc's defaults, which on these small data cost more than many trainings on all of them."""


@dataclass(frozen=True)
class Race:
    """One ground, loaded."""

    ground: Ground
    source: Source

    def task(self, seed: int) -> Any:
        return task_for(self.source, size=self.ground.size, seed=seed, family=self.ground.family)

    def full(self, seed: int) -> Objective:
        task = self.task(seed)
        return Objective(task.full, task.space, *task.real)

    def on(self, method: Condenser, seed: int) -> Objective:
        """A search on what `method` makes of the data."""
        made = condense_source(self.source, self.task(seed), method)
        task = self.task(seed)
        return Objective(task.condensed, task.space, made.train, made.val)


Contestant = Callable[[Race, int], Iterator[Config]]
"""Yields its recommendation whenever that may have changed, for ever or until it is done."""


def hcdc(race: Race, seed: int) -> Iterator[Config]:
    goal = race.on(race.ground.method(race.source.kind), seed)
    found = race.ground.searcher.run(goal, trials=race.ground.trials, seed=seed)
    yield from walked(race, found, seed)


def subset_tpe(race: Race, seed: int) -> Iterator[Config]:
    goal = race.on(Coreset(balanced=race.source.kind != "graph"), seed)
    study, train = studied(seed), optuna_objective(goal, seed=seed, rungs=1)
    for _ in range(race.ground.trials):
        study.optimize(train, n_trials=1)
        yield study.best_params
    yield from walked(race, [Trial(trial.params, trial.value, 0.0) for trial in study.trials], seed)


def walked(race: Race, found: Any, seed: int) -> Iterator[Config]:
    """The first of a search on a set; then the best on the full data of those that were trained there, in the set's order."""
    order = list({key(trial.config): trial.config for trial in ranked(found)}.values())
    yield order[0]
    yield from best_of(race.full(seed), order, seed, AT_ONCE)


def random(race: Race, seed: int) -> Iterator[Config]:
    goal = race.full(seed)
    yield from best_of(goal, goal.space.configs(10_000, seed), seed, AT_ONCE)


def best_of(goal: Objective, configs: list[Any], seed: int, at_once: int) -> Iterator[Config]:
    best: list[Trial] = []
    for start in range(0, len(configs), at_once):
        best = ranked([*best, *goal.trials(configs[start : start + at_once], seed)])[:1]
        yield best[0].config


def hyperband(race: Race, seed: int) -> Iterator[Config]:
    from optuna.pruners import HyperbandPruner

    study, train = studied(seed, HyperbandPruner(1, 9, 3)), optuna_objective(race.full(seed), seed=seed)
    while True:
        study.optimize(train, n_trials=1)
        if any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
            yield study.best_params


def studied(seed: int, pruner: Any = None) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner or optuna.pruners.NopPruner())


def halving(race: Race, seed: int) -> Iterator[Config]:
    goal, best, highest = race.full(seed), list[Trial](), 0
    generator = torch.Generator().manual_seed(seed)
    while True:
        configs = [goal.space.sample(generator) for _ in range(27)]
        for rung, parts in enumerate((9, 3, 1)):
            trials = ranked(shrunk(goal, parts, generator).trials(configs, seed))
            configs = [trial.config for trial in trials[: len(configs) // 3]]
            if rung >= highest:
                best, highest = ranked([*(best if rung == highest else []), *trials])[:1], rung
            yield best[0].config


def shrunk(goal: Objective, parts: int, generator: torch.Generator) -> Objective:
    """On one part in `parts` of the data, classes in proportion; of a graph, the induced subgraph. As many epochs as on all."""
    if parts == 1:
        return goal
    solver: Any = goal.recipe.solver
    if solver.batch_size is not None:
        solver = replace(solver, steps=math.ceil(solver.steps / parts))
    train, val = part_of(Real(goal.train, goal.val), parts, generator)
    return replace(goal, recipe=goal.recipe._replace(solver=solver), train=train, val=val)


def part_of(real: Real[Any], parts: int, generator: torch.Generator) -> Real[Any]:
    kept = [choose(data.labels(), max(data.num_classes, data.labels().numel() // parts), data.num_classes, generator) for data in real]
    if not isinstance(real.train, GraphData):
        return Real(real.train.take(kept[0]), real.val.take(kept[1]))
    labelled = [data.nodes[index] for data, index in zip(real, kept, strict=True)]
    rest = (~(real.train.mask | real.val.mask)).nonzero().squeeze(1)
    rest = rest[torch.randperm(rest.numel(), generator=generator)[: rest.numel() // parts]]
    index = torch.cat([*labelled, rest]).sort().values
    taken = [data.take(index) for data in real]
    return Real(*(data.replace(x=Sparse.from_dense(data.x), adjacency=Sparse.from_dense(data.adjacency)) for data in taken))


CONTESTANTS: dict[str, Contestant] = {"hcdc": hcdc, "random": random, "hyperband": hyperband, "subset-tpe": subset_tpe, "halving": halving}


def clocked(contestant: Contestant, race: Race, seed: int, budget: float) -> list[dict[str, Any]]:
    """{"cpu", "wall", "config"} of every change of the recommendation within `budget` processor seconds."""
    events: list[dict[str, Any]] = []
    cpu, wall = time.process_time(), time.perf_counter()
    for config in contestant(race, seed):
        spent = time.process_time() - cpu
        if spent > budget:
            break
        if not events or events[-1]["config"] != config:
            events.append({"cpu": spent, "wall": time.perf_counter() - wall, "config": dict(config)})
    return events


def judged(race: Race, configs: list[Any], judges: int) -> list[dict[str, float]]:
    """Of each configuration, trained on the full data: means of the validation criterion, its accuracy and that of the test part."""
    task, splits = race.task(0), race.source.splits
    hyper = task.space.relax_all(configs)
    runs = [retrain(task.full, hyper, splits.train, {"val": splits.val, "test": splits.test}, seed=JUDGE_SEED + seed) for seed in range(judges)]
    criterion = torch.cat([run.criterion["val"] for run in runs]).double().mean(0)
    val, test = (torch.cat([run.accuracy[part] for run in runs]).double().mean(0) for part in ("val", "test"))
    return [{"criterion": float(c), "val": float(v), "test": float(t)} for c, v, t in zip(criterion, val, test, strict=True)]


def oracle(race: Race, pool: int, judges: int) -> dict[str, Any]:
    """The best of the pool, and the share of the pool that one training puts within 1 % of the best training."""
    goal = race.full(0)
    trials = ranked(goal.trials(goal.space.configs(pool, POOL_SEED), POOL_SEED))
    best = min(judged(race, [trial.config for trial in trials[:BEST]], judges), key=lambda each: each["criterion"])
    close = sum(trial.score <= (1 + WITHIN) * trials[0].score for trial in trials)
    return best | {"near": close / pool, "seconds": sum(trial.seconds for trial in trials)}


def key(config: Config) -> str:
    """Of equal configurations the same."""
    return str(sorted(config.items()))


def lap(race: Race, name: str, seed: int, judges: int, budget: float, folder: Path) -> list[dict[str, Any]]:
    """The events of one contestant in one repetition, each with what its configuration is worth; who was judged in another lap
    of `folder` is not judged again."""
    events = clocked(CONTESTANTS[name], race, seed, budget)
    kept = [path for other in CONTESTANTS for path in folder.glob(f"{other}-*-{judges}.json")]
    known = {key(event["config"]): event for path in kept for event in json.loads(path.read_text())}
    fresh = list({key(event["config"]): event["config"] for event in events if key(event["config"]) not in known}.values())
    worth = known | dict(zip(map(key, fresh), judged(race, fresh, judges) if fresh else (), strict=True))
    return [worth[key(event["config"])] | event for event in events]


def near(event: dict[str, Any], best: dict[str, Any], measure: str) -> bool:
    return event["criterion"] <= (1 + WITHIN) * best["criterion"] if measure == "criterion" else event["val"] >= best["val"] - WITHIN


def found_at(events: list[dict[str, Any]], best: dict[str, Any], measure: str, clock: str) -> float:
    """The moment from which on the recommendation stays near the oracle; infinity where it does not."""
    at = math.inf
    for event in events:
        at = min(at, event[clock]) if near(event, best, measure) else math.inf
    return at


def row(name: str, laps: list[list[dict[str, Any]]], best: dict[str, Any]) -> str:
    cells: list[str] = []
    for measure in ("criterion", "val"):
        times = {clock: [found_at(events, best, measure, clock) for events in laps] for clock in ("cpu", "wall")}
        shown = [f"{median(found):.0f}" if math.isfinite(median(found)) else "–" for found in times.values()]
        cells.append(f"{sum(map(math.isfinite, times['cpu']))} of {len(laps)}: {' / '.join(shown)}")
    ended = [events[-1] for events in laps if events]
    if not ended:
        return f"| {name} | {' | '.join(cells)} | | |"
    gap = median(event["criterion"] / best["criterion"] - 1 for event in ended)
    test = np.array([event["test"] for event in ended])
    return f"| {name} | {' | '.join(cells)} | {100 * gap:+.1f} % | {test.mean():.3f} ± {test.std():.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=GROUNDS, default="cora")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="seed of the first repetition")
    parser.add_argument("--budget", type=float, default=60.0, help="processor seconds of a contestant")
    parser.add_argument("--pool", type=int, default=300)
    parser.add_argument("--judges", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/race"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ground = GROUNDS[arguments.task]
    race, folder = Race(ground, load(ground.data)), arguments.out / arguments.task
    best = figures(folder / f"oracle-{arguments.pool}-{arguments.judges}.json", lambda: oracle(race, arguments.pool, arguments.judges))
    print(f"{hardware()}; {arguments.task}, {arguments.budget:g} processor seconds a contestant, {arguments.repetitions} repetitions")
    values = f"criterion {best['criterion']:.4f}, validation {best['val']:.3f}, test {best['test']:.3f}"
    print(f"oracle of {arguments.pool} in {best['seconds']:.0f} s: {values}; {best['near']:.1%} of the pool are within 1 %\n", flush=True)
    laps: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in arguments.contestants}
    for seed in range(arguments.first, arguments.first + arguments.repetitions):
        for name in arguments.contestants:
            path = folder / f"{name}-{seed}-{arguments.budget:g}-{arguments.judges}.json"
            laps[name].append(figures(path, lambda name=name, seed=seed: lap(race, name, seed, arguments.judges, arguments.budget, folder)))
    columns = ("found by the criterion: cpu / wall s", "found by accuracy: cpu / wall s", "criterion at the end", "test accuracy at the end")
    print("| contestant | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name in arguments.contestants:
        print(row(name, laps[name], best))


if __name__ == "__main__":
    main()
