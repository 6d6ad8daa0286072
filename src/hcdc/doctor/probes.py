"""What can be wrong with a problem, one probe each; a probe returns findings and never raises for what it finds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from hcdc._tensors import as_leaves, expand, stack
from hcdc._typing import Hyper, Params
from hcdc.condense import Task
from hcdc.data import GraphData
from hcdc.models import ModuleProblem, sample

Level = Literal["breaks", "warns", "notes"]
OPTIMISER = re.compile(r"(^|_)(lr|rate|learning|momentum|batch|steps?|epochs?|betas?)(_|$)")
"""Names of settings of the optimiser, which no loss depends on."""


class Finding(NamedTuple):
    """`level`: "breaks" a run or makes it meaningless, "warns" of what costs time or quality, "notes" what to know."""

    level: Level
    what: str
    remedy: str

    def line(self) -> str:
        return f"{self.level}: {self.what}; {self.remedy}"


class Patient(NamedTuple):
    """A task, and a point at which it is looked at."""

    task: Task
    params: Params
    hyper: Hyper

    @property
    def problem(self) -> Any:
        return self.task.condensed.problem

    def losses(self, params: Params, hyper: Hyper) -> dict[str, Tensor]:
        """Inner loss on the training data, outer loss on the validation data, of at most 64 examples each."""
        return {"training": self.problem.inner(params, hyper, sample(self.task.real.train)),
                "validation": self.problem.outer(params, hyper, sample(self.task.real.val))}  # fmt: skip


def finite(patient: Patient) -> list[Finding]:
    """Losses at the start that are not finite, or differ from call to call."""
    found: list[Finding] = []
    first, second = (patient.losses(patient.params, patient.hyper) for _ in range(2))
    for name, value in first.items():
        if not bool(torch.isfinite(value)):
            remedy = "bring the inputs to unit scale, guard logarithms and divisions, or start from smaller weights"
            found.append(Finding("breaks", f"the {name} loss of an untrained model is {float(value)}", remedy))
        elif not torch.equal(value, second[name]):
            remedy = "draw no random numbers in the model or loss, as dropout and augmentation do; use their expectation"
            found.append(Finding("breaks", f"the {name} loss changes from call to call", remedy))
    return found


def twice_differentiable(patient: Patient) -> list[Finding]:
    """Layers without a second derivative, which hypergradients need."""
    leaves = as_leaves(patient.params)
    point = as_leaves(patient.hyper)
    loss = patient.problem.inner(leaves, point, sample(patient.task.real.train))
    if not loss.requires_grad:
        return [Finding("breaks", "the training loss depends on no parameter", "compute it from what the module returns")]
    try:
        slopes = torch.autograd.grad(loss, list(leaves.values()), create_graph=True, allow_unused=True)
        used = [slope for slope in slopes if slope is not None and slope.requires_grad]
        if used:
            torch.autograd.grad(torch.stack([slope.square().sum() for slope in used]).sum(), list(leaves.values()), allow_unused=True)
    except RuntimeError as error:
        remedy = "replace that layer: attention by softmax(q k^T) v with the math kernel, cuDNN recurrences by plain cells, compiled code by plain"
        return [Finding("breaks", f"the training loss has no second derivative ({first_line(error)})", remedy)]
    idle = [name for name, slope in zip(leaves, slopes, strict=True) if slope is None]
    return [Finding("warns", f"parameters {idle[:5]} do not enter the training loss", "leave them out of the module")] if idle else []


def told_by_data(patient: Patient) -> list[Finding]:
    """A validation loss that does not move with the parameters, so that nothing can be learned from it."""
    leaves = as_leaves(patient.params)
    loss = patient.losses(leaves, patient.hyper)["validation"]
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True) if loss.requires_grad else [None]
    if any(slope is not None and bool((slope != 0).any()) for slope in slopes):
        return []
    return [Finding("breaks", "the validation loss has no gradient in the parameters", "return what the layers compute, not rounded or thresholded")]


def batched(patient: Patient) -> list[Finding]:
    """Operations that `vmap` cannot batch over models, or batches by a slow loop."""
    params, hyper, data = expand(patient.params, 2), stack([patient.hyper] * 2), sample(patient.task.real.train)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            vmap(grad_and_value(lambda p, h: patient.problem.inner(p, h, data)))(params, hyper)
        except Exception as error:
            remedy = "use tensor operations without .item(), data-dependent shapes or branches, and without writing into buffers"
            return [Finding("breaks", f"several models cannot be trained together by vmap ({first_line(error)})", remedy)]
    slow = sorted({found for warning in caught for found in re.findall(r"batching rule for ([\w:.]+)", str(warning.message))})
    if not slow:
        return []
    return [Finding("warns", f"vmap batches {', '.join(slow)} by a slow loop", "expect long runs, or use another operation")]


def dependent(patient: Patient) -> list[Finding]:
    """Hyperparameters on which neither loss depends."""
    leaves = as_leaves(patient.hyper)
    total = torch.stack(list(patient.losses(patient.params, leaves).values())).sum()
    wanted = list(leaves.values())
    slopes = torch.autograd.grad(total, wanted, allow_unused=True) if total.requires_grad else [None] * len(wanted)
    found: list[Finding] = []
    for name, slope in zip(leaves, slopes, strict=True):
        if slope is not None and bool((slope != 0).any()):
            continue
        if "drop" in name.lower():
            remedy = "apply it yourself, as a factor on the activations: modules run in evaluation mode, where dropout does nothing"
        elif OPTIMISER.search(name.lower()):
            remedy = "leave it out: a setting of the optimiser has no hypergradient; fix it, and search it on the full data"
        else:
            remedy = "name it in `forward`, use it in the loss as a tensor (an int() or a loop has no derivative), or leave it out of the space"
        level: Level = "breaks" if slope is None else "warns"
        what = "enters neither the training nor the validation loss" if slope is None else "moves neither loss at the point tried"
        found.append(Finding(level, f"the hyperparameter `{name}` {what}", remedy))
    return found


def layers(patient: Patient) -> list[Finding]:
    """Layers of a module of the user's own that behave otherwise than in training."""
    if not isinstance(patient.problem, ModuleProblem):
        return []
    found: list[Finding] = []
    for name, layer in patient.problem.template.named_modules():
        shown = f"{type(layer).__name__} `{name}`"
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
            live = not layer.track_running_stats
            what = "uses the statistics of its batch, whose higher derivatives are wrong" if live else "is frozen, and normalises by 0 and 1"
            found.append(Finding("breaks" if live else "warns", f"{shown} {what}", "use GroupNorm or InstanceNorm with track_running_stats=False"))
        elif isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:  # pyright: ignore[reportPrivateUsage]
            found.append(Finding("notes", f"{shown} is off", "search a weight decay in its place"))
    return found + _restarts(patient.problem)


def _restarts(problem: ModuleProblem) -> list[Finding]:
    """Matrices that two initialisations have in common."""
    first, second = (problem.init({}, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    same = [name for name, value in first.items() if value.ndim > 1 and torch.equal(value, second[name])]
    remedy = "pass a function that makes the module, or give its layers `reset_parameters`"
    return [Finding("warns", f"parameters {same[:5]} start the same under every seed", remedy)] if same else []


def independent(patient: Patient) -> list[Finding]:
    """Outputs that depend on the other examples of the batch."""
    data = patient.task.real.train
    if not isinstance(patient.problem, ModuleProblem) or isinstance(data, GraphData) or data.size < 8:
        return []
    many, few = (patient.problem.outputs(patient.params, patient.hyper, sample(data, count)) for count in (8, 4))
    if torch.allclose(many[:4], few, rtol=1e-3, atol=1e-4):
        return []
    remedy = "use GroupNorm or InstanceNorm in the place of batch statistics"
    return [Finding("breaks", "what the model says of an example depends on the others of its batch", remedy)]


def trains(patient: Patient) -> list[Finding]:
    """Trainings that leave the finite numbers within a few steps."""
    solver = replace(patient.task.condensed.solver, steps=min(10, patient.task.condensed.solver.steps))
    data, hyper = sample(patient.task.real.train), stack([patient.hyper])
    params = type(patient.task.condensed)(patient.problem, solver).fit(hyper, data, seed=0)
    loss = patient.problem.inner({name: value[0] for name, value in params.items()}, patient.hyper, data)
    if bool(torch.isfinite(loss)):
        return []
    remedy = "lower the learning rate, or bring the inputs to unit scale"
    return [Finding("breaks", f"after {solver.steps} steps of training the loss is {float(loss)}", remedy)]


def scaled(patient: Patient) -> list[Finding]:
    """Inputs far from unit scale, which learned inputs cannot follow, and which other parts of the data may not share."""
    found: list[Finding] = []
    for part, data in {"training": patient.task.real.train, "validation": patient.task.real.val}.items():
        x = sample(data).x
        if isinstance(x, Tensor) and (largest := float(x.abs().max())) > 30:
            remedy = "bring both parts to unit scale: learned inputs move by about 0.01 a step"
            found.append(Finding("warns", f"{part} inputs reach {largest:.3g}", remedy))
    return found


PROBES: tuple[Callable[[Patient], list[Finding]], ...] = (
    layers, finite, dependent, twice_differentiable, told_by_data, batched, independent, trains, scaled,
)  # fmt: skip
"""In the order in which findings are told."""


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
