"""HCDC on cells: its points against the soft forward and finite differences, its two drivers, what it may not use."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc._tensors import expand
from hcdc.bilevel import SGD, Implicit, Neumann, Recipe, hypergradients
from hcdc.condense import Budget, CellBank, CellHCDC, CellMeasure, CellPaths, Task, condense, peak_memory
from hcdc.condense.cellpoints import Architecture, CellFit, CellPoint, Gated
from hcdc.errors import ConvergenceError, DataError, InputError
from hcdc.models import NasBench201
from hcdc.models.misfit import CRITERIA
from hcdc.spaces import RELAXATIONS, Cell, gumbel, sample_cells
from hcdc.store import DataCard
from hcdc.testing import check_condenser
from tests import small
from tests.cases import generator

CARD = DataCard(name="small", sha256="0" * 64, kind="images", num_classes=3)
FAMILY = NasBench201(3, shape=(1, 4, 4), channels=2, activation="softplus", weight_decay=0.05)
BANK = CellBank(starts=4, steps=3, batch=3)
PLAIN = CellMeasure(bf16=False, chunk=16)
FIXED = Implicit(Neumann(3, scale=0.01), damping=2.0)
"""A fixed polynomial of the Hessian, so that both orders of the products are one number; at twice the scale, one of the systems
of "gumbel" grows and is stopped, and they are not."""


def task(family: NasBench201 = FAMILY, **fields: Any) -> Task:
    recipe = Recipe(family, SGD(6, 0.1, batch_size=6))
    return Task(recipe, recipe, small.images().real, family.space(), Budget(9, 9), **fields)


def method(**fields: Any) -> CellHCDC:
    return CellHCDC(**{"driver": BANK, "measure": PLAIN, "images": None} | fields)


def architecture(kind: Any, seed: int = 0) -> Architecture:
    return Architecture(kind, 0.7, torch.randn(6, 5, generator=generator(seed)), gumbel((6, 5), generator(seed + 1)))


def measured(kind: Any, fixed: bool = True) -> tuple[Task, CellPoint, Any]:
    job, at = task(), architecture(kind)
    train = job.real.train.take(torch.arange(9))
    network = at.network(FAMILY)
    params = CellFit(SGD(6, 0.1))(network, network.init({}, generator(0)), train, seed=0, hyper={"op": at.ops()})
    measure = dataclasses.replace(PLAIN, synthetic=FIXED, hessian_batch=9) if fixed else PLAIN
    return job, measure(job, train, params, at, 0), train


@pytest.mark.parametrize("driver", [BANK, CellPaths(trajectories=2, repeats=1, updates=3, interval=2)], ids=["bank", "algorithm1"])
def test_conformance(driver: Any, tmp_path: Path) -> None:
    """Resumption to the bit takes parameters that lie in memory as those that were read from a file do."""
    check_condenser(method(driver=driver), task(), tmp_path)


def test_a_point_lies_in_memory_as_one_that_is_read() -> None:
    """Whether a machine's products of views end in other bits than those of whole tensors, the machine decides."""
    _, point, _ = measured("softmax")
    tensors = point.tensors()
    laid = {name: value.clone(memory_format=torch.contiguous_format).stride() for name, value in tensors.items()}
    assert {name: value.stride() for name, value in tensors.items()} == laid


@pytest.mark.parametrize("kind", RELAXATIONS)
def test_a_point_has_the_hypergradient_in_alpha(kind: Any) -> None:
    """That of the weights of all operations, through the derivative of the relaxation; of the sampled ones where these are all."""
    job, point, train = measured(kind)
    at = point.architecture
    problem = Gated(at.network(FAMILY), at.ops(), point.gates)
    found, _ = hypergradients(
        problem, expand(point.params, 1), {"gate": problem.start().unsqueeze(0)}, train, job.real.val, adjoint=FIXED, throw=False
    )
    expected = point.jacobian.T @ found["gate"][0]
    slope, read = point.slope(FAMILY, job.real.val, 1000)
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-5)
    for value, criterion in zip((read[0], 1 - read[1]), CRITERIA, strict=True):
        family = dataclasses.replace(FAMILY, criterion=criterion)
        torch.testing.assert_close(value, at.network(family).outer(point.params, {"op": at.ops()}, job.real.val))
    assert slope.abs().max() > 1e-4
    assert len(point.gates) == (24 if kind != "gdas" else len(at.cell().live_edges()))


@pytest.mark.parametrize("kind", RELAXATIONS)
def test_what_pulls_the_images_is_the_derivative(kind: Any) -> None:
    """Of <hypergradient, p> + <readings, q>, against central differences in a direction of all pixels and labels."""
    job, point, _ = measured(kind)
    val = job.real.val.take(torch.arange(7)).softened()
    p, q = torch.randn(30, generator=generator(3)), torch.tensor([0.3, -2.0])
    ways = {name: torch.randn(value.shape, generator=generator(4)) for name, value in val.learnable().items()}

    def scalar(step: float) -> Tensor:
        slope, read = point.slope(FAMILY, val.replace(**{name: value + step * ways[name] for name, value in val.learnable().items()}), 1000)
        return slope @ p + q @ read

    pulled = point.pull(FAMILY, val, (p, q), 1000)
    numeric = (scalar(3e-3) - scalar(-3e-3)) / 6e-3
    torch.testing.assert_close(sum((pulled[name] * ways[name]).sum() for name in ways), numeric, rtol=2e-2, atol=1e-3)


def test_without_alignment_the_pull_is_that_of_the_readings_alone() -> None:
    job, point, _ = measured("gdas", fixed=False)
    q = torch.tensor([1.0, 2.0])
    small_p = point.pull(FAMILY, job.real.val, (1e-9 * torch.ones(30), q), 1000)["x"]
    torch.testing.assert_close(point.pull(FAMILY, job.real.val, (torch.zeros(30), q), 1000)["x"], small_p, rtol=1e-3, atol=1e-6)


def test_a_cell_through_which_nothing_flows_pulls_nothing() -> None:
    job = task()
    at = Architecture("gdas", 1.0, Cell(("none",) * 6).weights(), torch.zeros(6, 5))
    network = at.network(FAMILY)
    point = PLAIN(job, job.real.train, network.init({}, generator(0)), at, 0)
    assert len(point.gates) == 0
    assert not point.target.any()
    assert not point.pull(FAMILY, job.real.val, (torch.ones(30), torch.ones(2)), 16)["x"].any()


def test_a_point_survives_a_checkpoint() -> None:
    job, point, _ = measured("gdas", fixed=False)
    again = CellPoint.from_tensors(point.tensors(), "gdas", 0.7)
    assert again.architecture.cell() == point.architecture.cell()
    assert torch.equal(again.slope(FAMILY, job.real.val, 8)[0], point.slope(FAMILY, job.real.val, 8)[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "driver", [BANK, CellBank(starts=2, stages=2, more=3, steps=2, batch=3), CellPaths(2, 2, 2, 3)], ids=["bank", "trajectories", "paths"]
)
@pytest.mark.parametrize("kind", RELAXATIONS)
def test_every_driver_and_relaxation_moves_the_validation_images_only(driver: Any, kind: Any) -> None:
    job = task()
    way = method(driver=driver, relaxation=kind)
    start, made = way.extract(job, way.init(job)), condense(way, job, CARD)
    assert torch.equal(made.train.x, start[0].x)
    assert not torch.equal(made.val.x, start[1].x)
    assert torch.equal(made.val.y, start[1].y)


@pytest.mark.parametrize("align", [1.0, 0.0])
def test_the_losses_fall(align: float) -> None:
    """The sum of what has a weight."""
    way = method(driver=CellBank(starts=8, steps=30, batch=8), lr=0.05, align=align)
    history = [record for record in condense(way, task(), CARD).card.history if "alignment_loss" in record]
    values = [align * record["alignment_loss"] + record["values_loss"] + record["accuracy_loss"] for record in history]
    assert sum(values[-5:]) < 0.8 * sum(values[:5])


def test_validation_images_may_start_from_the_training_images() -> None:
    job, way = task(), method(start=None)
    train, val = way.extract(job, way.init(job))
    assert torch.equal(train.x, val.x)
    assert torch.equal(train.y, val.y)
    with pytest.raises(InputError, match=r"^`val-size` = 8: S_val starts from the 9 images"):
        way.init(dataclasses.replace(job, budget=Budget(9, 8)))


def test_labels_become_soft_and_images_small() -> None:
    made = condense(method(soft=True, formation=2, lr_labels=0.1), task(), CARD).val
    assert made.y.shape == (9, 3)
    torch.testing.assert_close(made.y.sum(1), torch.ones(9))
    assert not torch.equal(made.y, made.softened().y)
    small_ones = torch.nn.functional.interpolate(torch.randn(9, 1, 2, 2), scale_factor=2.0, mode="bilinear")
    assert torch.linalg.matrix_rank(made.x.flatten(1)) <= torch.linalg.matrix_rank(small_ones.flatten(1))


def test_cells_to_be_avoided_are_not_condensed_with() -> None:
    job, way = task(), method()
    drawn = [way.drawn(job, torch.zeros(6, 5), at, 0).cell() for at in range(30)]
    avoid = tuple(map(str, drawn))
    functions = {cell.function() for cell in drawn}
    others = [dataclasses.replace(way, avoid=avoid).drawn(job, torch.zeros(6, 5), at, 0).cell() for at in range(30)]
    assert not functions & {cell.function() for cell in others}
    one = torch.full((6, 5), -1e4).scatter(1, torch.tensor([[3]] * 6), 0.0)
    with pytest.raises(ConvergenceError, match="all to be avoided"):
        dataclasses.replace(way, avoid=(str(Cell(("nor_conv_3x3",) * 6)),)).drawn(job, one, 0)


def test_values_of_cells_trained_on_the_real_data() -> None:
    job = task()
    network = FAMILY.network(sample_cells(1, 0)[0])
    at = Architecture("gdas", 1.0, network.cell.weights(), torch.zeros(6, 5))
    params = network.init({}, generator(0))
    first, second = (dataclasses.replace(PLAIN, truth=truth).values(job, at, params, job.real.val, 0) for truth in ("synthetic", "trained"))
    assert float(first[0]) != float(second[0])


def test_memory_does_not_grow_with_the_validation_set() -> None:
    few, many = (dataclasses.replace(task(), budget=Budget(9, size)) for size in (9, 30))
    assert peak_memory(method(), few) == peak_memory(method(), many)
    assert peak_memory(method(driver=CellBank(starts=400)), few) > peak_memory(method(), few)


def test_broken_settings_are_named() -> None:
    with pytest.raises(InputError, match="`relaxation` = 'hard'"):
        method(relaxation="hard")
    with pytest.raises(InputError, match="no single cell"):
        method(relaxation="softmax", avoid=("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",))
    with pytest.raises(InputError, match="`formation, temperature`"):
        method(formation=0)
    with pytest.raises(InputError, match=r"`lr` = \(nan,\): must be positive and finite"):
        method(lr=float("nan"))
    with pytest.raises(DataError, match="`formation` = 3: must divide"):
        condense(method(formation=3), task(), CARD)
    with pytest.raises(DataError, match="nasbench201"):
        condense(method(), small.task(small.images()), CARD)
