"""Hyperparameter-calibrated dataset condensation: S_train by any condenser, S_val by aligning hypergradients."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import TensorDict, as_leaves, batch_size, stack, take, under
from hcdc._typing import Hyper, Params
from hcdc.bilevel import Adam, Bilevel, fit, readings, together
from hcdc.condense.calibration import METRICS, Calibration, check_driver, followed
from hcdc.condense.coreset import CENTROIDS, STRONG, Coreset
from hcdc.condense.optimise import adam_step, cosine, no_longer
from hcdc.condense.points import Measure, Points, descend
from hcdc.condense.task import Condenser, Task, check_settings, generator_for
from hcdc.data import ImageData
from hcdc.errors import DataError, InputError
from hcdc.spaces import Space
from hcdc.store import Card, Groups, space_from_card


@dataclass(frozen=True)
class Bank:
    """Points measured once, then many cheap steps on S_val.

    `starts` trajectories begin at random points of the relaxed space, each with parameters of its own (`apart`); at each of
    `stages` the models are trained on S_train (first as a configuration is, then `more` steps), measured, and moved `rate`
    down the real hypergradient. Half of the points are thus uniform. With longer trajectories more of them lie where the loss
    is low, and accuracy is ranked less well (`docs/ablations.md`).
    """

    starts: int = 512
    stages: int = 2
    chunk: int = 128
    more: int = 60
    rate: float = 0.35
    steps: int = 1000
    batch: int = 64

    def __post_init__(self) -> None:
        check_driver(self)


@dataclass(frozen=True)
class Algorithm1:
    """The paper's Algorithm 1: no bank; lambda follows the hypergradient of S itself.

    `trajectories` (its p) run side by side; each of `repeats` (its K) starts them anew and makes `updates` updates of
    lambda and S_val, one every `interval` (its T_lambda) training steps. S_val moves by the mean over trajectories.
    """

    trajectories: int = 32
    repeats: int = 4
    updates: int = 10
    interval: int = 20
    rate: float = 0.35

    def __post_init__(self) -> None:
        check_driver(self)


DRIVERS: dict[str, type[Bank] | type[Algorithm1]] = {"Bank": Bank, "Algorithm1": Algorithm1}


@dataclass(frozen=True)
class HCDC(Calibration):
    """S_val learned so that hypergradients on it align with the real ones (Eq. (HCDC)).

    Minimises, over batches of points,

        `align` x mean of 1 - cos(g_S, g_T)  +  `values` x (1 - corr(log loss_S, log loss_T))
        +  `accuracy` x (1 - corr(log(1 - p_S), -accuracy_T)),

    where p_S is the mean probability of the true class (the soft accuracy) and corr Pearson's correlation, so that real
    values are matched up to scale and shift; 0 drops a term. Loss and accuracy rank differently even on the full data;
    here each has a reading of S_val of its own, and the problem's criterion says by which a search chooses. A problem
    without a soft accuracy has no third term. The slope of the first grows as 1 / ‖g_S‖, so that a step follows none that is
    longer than those before it (`no_longer`). `train` makes S_train; S_val starts from `start`; `structure=False` keeps
    its adjacency as it started; `soft` learns the labels of images too, as probabilities.
    """

    train: Condenser = CENTROIDS
    start: Coreset = STRONG
    driver: Bank | Algorithm1 = field(default_factory=Bank)
    measure: Measure = field(default_factory=Measure)
    align: float = 1.0
    values: float = 2.0
    accuracy: float = 2.0
    structure: bool = True
    soft: bool = False
    lr: float = 2e-3
    lr_structure: float = 6e-3

    def __post_init__(self) -> None:
        weights = self.align, self.values, self.accuracy
        if min(weights) < 0 or max(self.align, self.values) == 0:
            rule = "must not be negative, nor both `align` and `values` be 0"
            raise InputError("align, values, accuracy", weights, rule, "leave them at their defaults")
        check_settings(self, rates=("lr", "lr_structure"))

    def measurements(self) -> int:
        return -(-self.driver.starts // self.driver.chunk) * self.driver.stages if isinstance(self.driver, Bank) else 0

    def updates(self) -> int:
        return self.driver.steps if isinstance(self.driver, Bank) else self.driver.repeats * self.driver.updates

    def init(self, task: Task) -> Groups:
        val = self.start.select(task.real.val, task.budget.val, task.generator(3))
        if self.soft:
            val = softened(val)
        return self.begun(task) | {"val": val.tensors()}

    def learn(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        if isinstance(self.driver, Algorithm1):
            return self._follow(task, state, self.driver, number)
        bank = Points.from_tensors(state["bank"])
        index = torch.randint(bank.count, (self.driver.batch,), generator=task.generator(11, number))
        return self._update(task, state, bank.take(index), number)

    def extract(self, task: Task, state: Groups) -> tuple[Any, Any]:
        return self.made(task, state), task.real.val.replace(**state["val"])

    def measure_more(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        """Measure one stage of one chunk of trajectories, then move them."""
        driver = cast("Bank", self.driver)
        chunk, stage = divmod(number, driver.stages)
        problem, train, seed = task.condensed.problem, self.made(task, state), 100 * chunk + stage
        if stage == 0:
            points = began(driver, task.space, task.seed, chunk)
            start, solver = packed(stack(points), apart(problem, points, task.generator(5, chunk))), task.condensed.solver
        else:
            start, solver = state["trajectory"], replace(task.condensed.solver, steps=driver.more)
        each = {"train": train, "solver": solver, "seed": seed}
        shares = [each | {"start": take(start, part)} for part in together(problem, train, batch_size(start))]
        points = Points.join(list(task.engine(explored, {"measure": self.measure, "task": task}, shares))).sound(number)
        moved = descend(task, points.hyper, points.target, driver.rate)
        added = state | {f"bank/{number}": points.tensors(), "trajectory": packed(moved, points.params)}
        if number == self.measurements() - 1:
            added = merged(added)
        return added, {"points": float(points.count), "real_loss": float(points.loss.mean())}

    def _follow(self, task: Task, state: Groups, driver: Algorithm1, number: int) -> tuple[Groups, dict[str, float]]:
        """Train, measure, update S_val and lambda: lines 3 to 8 of Algorithm 1 for all trajectories."""
        repeat, update = divmod(number, driver.updates)
        train = self.made(task, state)
        if update == 0:
            points = began(driver, task.space, task.seed)
            hyper, params = stack(points), apart(task.condensed.problem, points, task.generator(5, repeat))
        else:
            hyper, params = split(state["trajectory"])
        solver = replace(task.condensed.solver, steps=driver.interval)
        params = fit(task.condensed.problem, hyper, train, solver, seed=task.seed + number, params=params)
        points, val = self.measure(task, train, params, hyper, number).sound(number), task.real.val.replace(**state["val"])
        params, hyper = points.params, points.hyper
        slope, _ = points.slope(self.measure.aligned(task.condensed.problem), val, self.measure.direct)
        moved = descend(task, hyper, slope.detach(), driver.rate)
        return self._update(task, state | {"trajectory": packed(moved, params)}, points, number)

    def _update(self, task: Task, state: Groups, points: Points, number: int) -> tuple[Groups, dict[str, float]]:
        """One Adam step on S_val, taken back where it leads to what is not finite (`accepted`)."""
        val = task.real.val.replace(**state["val"])
        names = [name for name in val.learnable() if self.structure or name != "adjacency"]
        leaves = as_leaves({name: val.learnable()[name] for name in names})
        terms = self.losses(task, points, val.replace(**leaves))
        loss = torch.stack([getattr(self, name) * term for name, term in terms.items()]).sum()
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        slopes = dict(zip(names, found, strict=True))
        metrics = {METRICS[name]: float(term.detach()) for name, term in terms.items()}
        scale = float(state["health"]["rate"]) * cosine(number, self.updates())
        rates = {name: scale * (self.lr_structure if name == "adjacency" else self.lr) for name in names}
        moved = adam_step(leaves, no_longer(slopes, state["moments"]), state["moments"], rates)
        return self.accepted(state, number, (loss, *moved), lambda tensors: val.replace(**tensors).project().tensors()), metrics

    def losses(self, task: Task, points: Points, val: Any) -> dict[str, Tensor]:
        """The terms of the loss over `points` on the synthetic `val`, by the names of their weights."""
        problem, terms = self.measure.aligned(task.condensed.problem), dict[str, Tensor]()
        if self.align:
            slope, read = points.slope(problem, val, self.measure.direct)
            terms["align"] = 1 - functional.cosine_similarity(slope, points.target, dim=1).mean()
        else:
            read = readings(problem, points.params, points.hyper, val)
        followers = followed(read, points.loss, points.accuracy)
        return terms | {name: term for name, term in followers.items() if getattr(self, name)}


def explored(measure: Measure, task: Task, train: Any, solver: Adam, start: TensorDict, seed: int) -> Points:
    """Train a share of the trajectories on S_train, from `start` (as `packed`), and measure it."""
    hyper, params = split(start)
    params = fit(task.condensed.problem, hyper, train, solver, seed=task.seed + seed, params=params)
    return measure(task, train, params, hyper, seed)


def began(driver: Bank | Algorithm1, space: Space, seed: int, chunk: int = 0) -> list[Hyper]:
    """The points at which the trajectories of a `chunk` of the bank, or all of Algorithm 1, begin."""
    if isinstance(driver, Bank):
        generator, count = generator_for(seed, 7, chunk), min(driver.chunk, driver.starts - chunk * driver.chunk)
    else:
        generator, count = generator_for(seed, 7), driver.trajectories
    return [space.interior(generator) for _ in range(count)]


def apart(problem: Bilevel, points: list[Hyper], generator: torch.Generator) -> Params:
    """Parameters to begin with at each of `points`, drawn anew for each: models that stop early depend on where they began, and
    an S_val that has seen one beginning ranks those of others less well (`docs/ablations.md`)."""
    return stack([problem.init(point, generator) for point in points])


def first_configs(card: Card, count: int) -> list[dict[str, float | int | str]]:
    """The configurations nearest to the first `count` points at which the condensation of `card` began, as many as there
    are in its first chunk; none where its method follows no trajectories."""
    settings = dict(card.settings.get("driver") or {})
    kind = DRIVERS.get(settings.pop("type", ""))
    if kind is None or set(settings) != {each.name for each in fields(kind)}:
        return []
    space = space_from_card(card.space)
    return [space.round(point) for point in began(kind(**settings), space, card.seed)[:count]]


def merged(state: Groups) -> Groups:
    """The state with the parts of its bank made one, and the trajectories that made it dropped."""
    parts = [Points.from_tensors(value) for key, value in state.items() if key.startswith("bank/")]
    rest = {key: value for key, value in state.items() if not key.startswith("bank/") and key != "trajectory"}
    return rest | {"bank": Points.join(parts).tensors()}


def packed(hyper: TensorDict, params: TensorDict) -> TensorDict:
    """Where trajectories stand, as one dictionary for a checkpoint; `split` is the inverse."""
    return {f"hyper.{key}": value for key, value in hyper.items()} | {f"params.{key}": value for key, value in params.items()}


def split(trajectory: TensorDict) -> tuple[TensorDict, TensorDict]:
    """(hyper, params) of a saved trajectory."""
    return under(trajectory, "hyper."), under(trajectory, "params.")


def softened(val: Any) -> Any:
    """Images with their classes as probabilities; `DataError` for what has none."""
    if not isinstance(val, ImageData) or not val.num_classes:
        raise DataError("soft", True, "labels are learned of images with classes only", "leave it out")
    return val.softened()
