"""HCDC on the cells of NAS-Bench-201: architecture parameters as hyperparameters, a network of its own at every point."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import TensorDict, as_leaves, stack
from hcdc.condense.calibration import METRICS, Calibration, check_driver, followed
from hcdc.condense.cellpoints import Architecture, CellFit, CellMeasure, CellPoint
from hcdc.condense.coreset import Coreset
from hcdc.condense.images import enlarged, shrunk
from hcdc.condense.optimise import adam_step, cosine, not_finite
from hcdc.condense.task import Condenser, Task, check_settings
from hcdc.data import ImageData
from hcdc.errors import ConvergenceError, DataError, InputError
from hcdc.models import NasBench201
from hcdc.spaces import EDGES, OPS, RELAXATIONS, Cell, RelaxationName, gumbel
from hcdc.store import Groups

REAL = Coreset(label="images")
"""Real images, class proportions kept."""
TRIES = 1000
"""Draws of a cell before it is given up to find one that is not to be avoided."""


@dataclass(frozen=True)
class CellBank:
    """Points measured once, then many cheap steps on S_val.

    `starts` architectures are drawn (by sampling, with one stage); with more `stages` each is the start of a trajectory:
    alpha moves `rate` down the real hypergradient, the cell is drawn anew and trained `more` steps from the shared
    parameters of its trajectory. `batch` points a step of S_val.
    """

    starts: int = 24
    stages: int = 1
    more: int = 100
    rate: float = 0.35
    steps: int = 60
    batch: int = 6

    def __post_init__(self) -> None:
        check_driver(self)


@dataclass(frozen=True)
class CellPaths:
    """Algorithm 1: `trajectories` side by side, started anew `repeats` times, each of `updates` updates of S_val and alpha
    after `interval` steps of training; alpha follows the hypergradient of S itself."""

    trajectories: int = 6
    repeats: int = 2
    updates: int = 6
    interval: int = 100
    rate: float = 0.35

    def __post_init__(self) -> None:
        check_driver(self)


@dataclass(frozen=True)
class CellHCDC(Calibration):
    """S_val learned so that hypergradients in the architecture parameters alpha [6, 5] align with the real ones.

    Minimises, over the points of a step, the loss of `HCDC`: hypergradients of the loss aligned, and each reading of S_val,
    the loss and the soft accuracy, following its real value, with the weights `align`, `values` and `accuracy`. `relaxation`
    and `temperature` say what is computed at alpha (`relaxed`): "softmax" and "gumbel" all 24 operations, "gdas" one sampled
    cell, which is what a CPU can do. No sampled cell computes what one of `avoid` computes, so that these can be evaluated
    on. S_val starts from real validation images (`start`) or, where that is None, from the images that S_train starts from,
    on which the loss of a trained network is its training loss. `soft` learns labels too, from one-hot ones, at `lr_labels`;
    `formation` learns images at 1 / formation of each side (`shrunk`). `images` bounds how many of S_val a step looks at.
    """

    train: Condenser = REAL
    start: Coreset | None = REAL
    driver: CellBank | CellPaths = field(default_factory=CellBank)
    measure: CellMeasure = field(default_factory=CellMeasure)
    relaxation: RelaxationName = "gdas"
    temperature: float = 1.0
    align: float = 1.0
    values: float = 1.0
    accuracy: float = 1.0
    soft: bool = False
    formation: int = 1
    images: int | None = 128
    lr: float = 1e-2
    lr_labels: float = 1e-2
    avoid: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "avoid", tuple(self.avoid))
        if self.relaxation not in RELAXATIONS:
            raise InputError("relaxation", self.relaxation, f"must be one of {', '.join(RELAXATIONS)}", "choose one of these")
        if self.relaxation != "gdas" and (self.avoid or self.measure.truth == "trained"):
            raise InputError("relaxation", self.relaxation, "computes no single cell to avoid or to train", 'take "gdas", or leave both out')
        weights = self.align, self.values, self.accuracy
        if min(weights) < 0 or max(weights) == 0:
            raise InputError("align, values, accuracy", weights, "must not be negative, nor all be 0", "leave them at their defaults")
        if self.formation < 1 or self.temperature <= 0:
            raise InputError("formation, temperature", (self.formation, self.temperature), "must be positive", "use 1 and 1.0")
        check_settings(self, rates=("lr", "lr_labels"))

    def measurements(self) -> int:
        return self.driver.starts * self.driver.stages if isinstance(self.driver, CellBank) else 0

    def updates(self) -> int:
        return self.driver.steps if isinstance(self.driver, CellBank) else self.driver.repeats * self.driver.updates

    def init(self, task: Task) -> Groups:
        if not isinstance(task.condensed.problem, NasBench201):
            raise DataError("method", self.name, "this form is for cells of NAS-Bench-201", "use --space nasbench201, or HCDC")
        if task.condensed.problem.regularisers:
            rule = "condenses for cells alone, under the fixed weight decay of the family"
            raise InputError("regularise", task.condensed.problem.regularisers, rule, "leave it out, or take another method")
        begun = self.begun(task)
        val = self.made(task, begun) if self.start is None else self.start.select(task.real.val, task.budget.val, task.generator(3))
        if val.size != task.budget.val:
            raise InputError("val-size", task.budget.val, f"S_val starts from the {val.size} images of S_train", "ask for as many")
        learned = {"x": shrunk(val.x, self.formation)} | ({"y": val.softened().y} if self.soft else {})
        return begun | {"val": learned, "labels": {"y": val.y}}

    def learn(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        if isinstance(self.driver, CellPaths):
            return self._follow(task, state, self.driver, number)
        index = torch.randperm(self.measurements(), generator=task.generator(11, number))[: self.driver.batch]
        points = [self._point(state[f"point/{at}"]) for at in index.tolist()]
        return self._update(task, state, points, number)

    def extract(self, task: Task, state: Groups) -> tuple[Any, Any]:
        return self.made(task, state), self._val(task, state["val"], state["labels"]["y"])

    def primed(self, state: Groups) -> Groups:
        """`state` as if all points were the first."""
        return state | {f"point/{at}": state["point/0"] for at in range(self.measurements()) if "point/0" in state}

    def memory(self, task: Task) -> int:
        """Bytes of all points at the most that a cell weighs, and of one network at work on a chunk."""
        problem: Any = task.condensed.problem
        widest = problem if self.relaxation != "gdas" else problem.network(Cell(("nor_conv_3x3",) * len(EDGES)))
        numbers = sum(value.numel() for value in widest.init({}, torch.Generator()).values())
        gates = len(EDGES) * (1 if self.relaxation == "gdas" else len(OPS) - 1)
        points = self.measurements() if isinstance(self.driver, CellBank) else self.driver.trajectories
        work = task.real.train.take(torch.arange(min(self.measure.chunk, task.real.train.size)))
        return 4 * numbers * (1 + gates) * points + 2 * widest.footprint(work)

    def _val(self, task: Task, learned: TensorDict, labels: Tensor) -> ImageData:
        return task.real.val.replace(x=enlarged(learned["x"], self.formation), y=learned.get("y", labels)).project()

    def _point(self, tensors: TensorDict) -> CellPoint:
        return CellPoint.from_tensors(tensors, self.relaxation, self.temperature)

    def drawn(self, task: Task, alpha: Tensor, *salts: int) -> Architecture:
        """An architecture at `alpha` whose cell is not to be avoided; `ConvergenceError` where none is found."""
        avoided = {Cell.parse(text).function() for text in self.avoid}
        generator = task.generator(12, *salts)
        for _ in range(TRIES):
            found = Architecture(self.relaxation, self.temperature, alpha, gumbel(tuple(alpha.shape), generator))
            if self.relaxation != "gdas" or found.cell().function() not in avoided:
                return found
        raise ConvergenceError(f"hcdc: {TRIES} cells drawn at one point of a trajectory are all to be avoided; lower `rate`, or avoid fewer")

    def _began(self, task: Task, *salts: int) -> Tensor:
        """alpha [6, 5] of flat Dirichlet weights: log of the weights."""
        draws = -gumbel((len(EDGES), len(OPS)), task.generator(7, *salts))
        return draws.log_softmax(-1)

    def explored(self, task: Task, train: ImageData, path: TensorDict, steps: int | None, salts: tuple[int, int]) -> tuple[CellPoint, TensorDict]:
        """Train the architecture drawn at the end of `path` {"alpha", parameters}, measure it, and put its parameters back."""
        family: Any = task.condensed.problem
        seed = task.seed + 1000 * salts[0] + salts[1]
        architecture = self.drawn(task, path["alpha"], *salts)
        network = architecture.network(family, fused=True)
        names = network.init({}, torch.Generator()).keys()
        solver = task.condensed.solver if steps is None else replace(task.condensed.solver, steps=steps)
        hyper = {"op": architecture.ops()} if self.relaxation != "gdas" else {}
        fit = CellFit(solver, self.measure.bf16)
        params = fit(network, {name: path[name] for name in names}, train, seed=seed, hyper=hyper)
        return self.measure(task, train, params, architecture, seed), path | params

    def path(self, task: Task, *salts: int) -> TensorDict:
        """Where a trajectory begins: alpha and the parameters of all operations."""
        family: Any = task.condensed.problem
        return {"alpha": self._began(task, *salts)} | family.init({}, task.generator(14, *salts))

    def measure_more(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        """Make one point of the bank, and move the trajectory on from it."""
        driver = cast("CellBank", self.driver)
        start, stage = divmod(number, driver.stages)
        path = self.path(task, start) if stage == 0 else state["path"]
        point, path = self.explored(task, self.made(task, state), path, None if stage == 0 else driver.more, (start, stage))
        metrics = {"real_loss": float(point.loss), "real_accuracy": float(point.accuracy)}
        if not_finite({"target": point.target, "loss": point.loss, **point.params}):
            raise ConvergenceError(f"hcdc: training {point.architecture.cell()} on S_train left the finite numbers; lower the rate of the solver")
        if driver.stages > 1:
            state = state | {"path": path | {"alpha": moved(path["alpha"], point.target, driver.rate)}}
        return state | {f"point/{number}": point.tensors()}, metrics

    def _follow(self, task: Task, state: Groups, driver: CellPaths, number: int) -> tuple[Groups, dict[str, float]]:
        """Lines 3 to 8 of Algorithm 1 for all trajectories."""
        repeat, update = divmod(number, driver.updates)
        val, points, paths = self._val(task, state["val"], state["labels"]["y"]), list[CellPoint](), Groups()
        family: Any = task.condensed.problem
        for at in range(driver.trajectories):
            path = self.path(task, at, repeat) if update == 0 else state[f"path/{at}"]
            point, path = self.explored(task, self.made(task, state), path, driver.interval, (at, number))
            slope, _ = point.slope(family, val, self.measure.chunk)
            paths[f"path/{at}"] = path | {"alpha": moved(path["alpha"], slope, driver.rate)}
            points.append(point)
        return self._update(task, state | paths, points, number)

    def _update(self, task: Task, state: Groups, points: list[CellPoint], number: int) -> tuple[Groups, dict[str, float]]:
        """One Adam step on (some images of) S_val, taken back where it leads to what is not finite (`accepted`)."""
        labels = state["labels"]["y"]
        order = torch.randperm(len(labels), generator=task.generator(13, number))[: self.images]
        leaves = as_leaves(state["val"])
        some = self._val(task, leaves, labels).take(order)
        terms, pulled = self.losses(task, points, some.replace(**{name: value.detach() for name, value in some.learnable().items()}))
        loss = torch.stack([getattr(self, name) * term for name, term in terms.items()]).sum()
        seen = torch.stack([(slope * some.learnable()[name]).sum() for name, slope in pulled.items()]).sum()
        slopes = dict(zip(leaves, torch.autograd.grad(seen, list(leaves.values())), strict=True))
        scale = float(state["health"]["rate"]) * cosine(number, self.updates())
        after = adam_step(leaves, slopes, state["moments"], {"x": scale * self.lr, "y": scale * self.lr_labels})

        def val(learned: TensorDict) -> TensorDict:
            return learned | ({"y": self._val(task, learned, labels).y} if self.soft else {})

        return self.accepted(state, number, (loss, *after), val), {METRICS[name]: float(term) for name, term in terms.items()}

    def losses(self, task: Task, points: list[CellPoint], val: ImageData) -> tuple[TensorDict, TensorDict]:
        """(the terms by the names of their weights, the gradient of their weighted sum in what `val` learns), one point after
        the other."""
        family: Any = task.condensed.problem
        found = [point.slope(family, val, self.measure.chunk) for point in points]
        slopes, read = torch.stack([slope for slope, _ in found]).requires_grad_(), torch.stack([values for _, values in found]).requires_grad_()
        gated = [at for at, point in enumerate(points) if len(point.gates)]
        target = torch.stack([point.target for point in points])
        terms = {"align": (1 - functional.cosine_similarity(slopes[gated], target[gated], dim=1)).sum() / max(1, len(gated))}
        loss, accuracy = torch.stack([point.loss for point in points]), torch.stack([point.accuracy for point in points])
        terms |= followed({"loss": read[:, 0], "soft_accuracy": read[:, 1]}, loss, accuracy)
        total = torch.stack([getattr(self, name) * term for name, term in terms.items()]).sum()
        p, q = torch.autograd.grad(total, (slopes, read))
        pulls = [point.pull(family, val, (p[at], q[at]), self.measure.chunk) for at, point in enumerate(points)]
        pulled = {name: tensor.sum(0) for name, tensor in stack(pulls).items()}
        return {name: term.detach() for name, term in terms.items()}, pulled


TRAINED_CELLS = CellHCDC(start=None, measure=CellMeasure(truth="trained"), align=0.0)
"""What ranks cells on a few hundred images, where networks learn S_train by heart and real validation data itself ranks them
the wrong way round: S_val starts from the images of S_train and follows the values of cells trained on the real data
(`docs/results.md`). The defaults of the class are the paper's."""


def moved(alpha: Tensor, slope: Tensor, rate: float) -> Tensor:
    """One normalised step of `rate` down `slope` [30]."""
    return alpha - rate * (slope / slope.norm().clamp_min(1e-12)).reshape(alpha.shape)
