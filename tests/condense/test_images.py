"""What the condensers of images share: kinds, starts, labels, broken settings."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from hcdc.condense import DC, DM, DSA, HCDC, KIP, TM, Bank, Budget, condense, peak_memory
from hcdc.condense.images import enlarged, shrunk
from hcdc.data import Real
from hcdc.errors import ConvergenceError, DataError, FormatError, InputError
from hcdc.models import OPERATIONS
from hcdc.store import Condensed, DataCard, load_condensed
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="images", num_classes=3)
NAMES = ["dc", "dsa", "dm", "kip", "tm"]


@pytest.mark.parametrize("name", NAMES)
def test_graphs_are_refused(name):
    with pytest.raises(DataError, match=rf"^`method` = '{name}': condenses images only; use"):
        condense(small.METHODS[name], small.task(), CARD)


@pytest.mark.parametrize("name", NAMES)
def test_images_move_and_labels_stay(name):
    method, task = small.METHODS[name], small.task(small.images())
    start, made = method.extract(task, method.init(task)), condense(method, task, CARD)
    for part, first, last in zip(("train", "val"), start, (made.train, made.val), strict=True):
        assert torch.equal(first.y, last.y)
        assert torch.equal(first.x, last.x) == (part == "val" and not method.both)


@pytest.mark.parametrize("start", ["noise", "real"])
def test_where_images_start(start):
    task = small.task(small.images())
    train, _ = (method := DC(steps=1, start=start)).extract(task, method.init(task))
    real = {tuple(row) for row in task.real.train.x.flatten(1).tolist()}
    assert all((tuple(row) in real) == (start == "real") for row in train.x.flatten(1).tolist())
    share = torch.bincount(task.real.train.y) / task.real.train.size
    assert ((torch.bincount(train.y) - 9 * share).abs() < 1).all()


def test_without_both_validation_images_are_real():
    task = small.task(small.images())
    _, val = (method := DC(steps=1, both=False)).extract(task, method.init(task))
    real = {tuple(row) for row in task.real.val.x.flatten(1).tolist()}
    assert all(tuple(row) in real for row in val.x.flatten(1).tolist())
    assert 2 * method.length() == dataclasses.replace(method, both=True).length()


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_validation_images_has_no_synthetic_ones(name):
    task = small.task(small.images())
    fewer = task.real._replace(val=task.real.val.take((task.real.val.y != 1).nonzero().squeeze(1)))
    made = condense(small.METHODS[name], dataclasses.replace(task, real=fewer, budget=Budget(9, 8)), CARD)
    assert made.val.size == 8
    assert 1 not in made.val.y


@pytest.mark.parametrize("name", NAMES)
def test_a_regression_is_refused(name):
    task = small.task(small.images())
    real = Real(*(dataclasses.replace(part, y=part.y.float(), num_classes=0) for part in task.real))
    with pytest.raises(DataError, match=f"`method` = '{name}': matches class by class"):
        condense(small.METHODS[name], dataclasses.replace(task, real=real), CARD)


def test_a_step_to_nan_is_an_error():
    task = small.task(small.images())
    real = task.real.train.replace(x=torch.full_like(task.real.train.x, float("nan")))
    with pytest.raises(ConvergenceError, match=r"^kip: step 0 left the finite numbers; lower `lr`, now 0\.04"):
        condense(KIP(steps=1), dataclasses.replace(task, real=task.real._replace(train=real)), CARD)


BROKEN = {
    "steps": lambda: DC(steps=0),
    "lr": lambda: DC(lr=0.0),
    "momentum": lambda: DM(momentum=1.0),
    "experts": lambda: TM(experts=0),
    "max_start": lambda: TM(epochs=5, ahead=3, max_start=25),
}


@pytest.mark.parametrize("named", BROKEN)
def test_broken_settings_are_named(named):
    with pytest.raises(InputError, match=rf"^`[a-z_, ]*{named}[a-z_, ]*` = "):
        BROKEN[named]()


def test_an_unknown_augmentation_is_named():
    with pytest.raises(InputError, match=r"^`augmentation` = .*shear"):
        condense(DM(steps=1, augmentation=("shear",)), small.task(small.images()), CARD)


def test_published_settings():
    assert (DC().steps, DC().lr, DC().momentum, DC().lr_network, DC().real_batch, DC().start) == (1000, 0.1, 0.5, 0.01, 256, "noise")
    assert (DSA.augmentation, DSA.start, DSA.name) == (OPERATIONS, "real", "dsa")
    assert (DM().steps, DM().lr, DM().start) == (20_000, 1.0, "real")
    assert (KIP().lr, KIP().real_batch) == (4e-2, 5000)
    assert (TM().experts, TM().epochs, TM().lr_expert, TM().steps, TM().ahead, TM().inner, TM().max_start) == (100, 50, 0.01, 5000, 3, 20, 25)
    assert TM().lr_rate == 1e-5


def test_experts_are_on_the_bill_of_memory():
    task = small.task(small.images())
    few, many = (TM(experts=count, epochs=9, ahead=1, max_start=2, width=4) for count in (10, 20))
    network = few.network(task.real.train).init({}, torch.Generator())
    each = 4 * 10 * sum(value.numel() for value in network.values())
    assert peak_memory(many, task) - peak_memory(few, task) == 2 * 10 * each


@pytest.mark.parametrize("name", NAMES)
def test_images_of_several_formations_have_the_resolution_of_what_is_learned(name):
    task = small.task(small.images())
    method = dataclasses.replace(small.METHODS[name], formation=2)
    start, made = method.extract(task, method.init(task)), condense(method, task, CARD)
    assert not torch.equal(start[0].x, made.train.x)
    x = made.train.x
    assert x.shape == (9, 1, 4, 4)
    torch.testing.assert_close(enlarged(shrunk(x[:, :, [0, 0, 3, 3]][..., [0, 0, 3, 3]], 2), 2), x)
    with pytest.raises(DataError, match="`formation` = 3: must divide"):
        dataclasses.replace(method, formation=3).init(task)


def test_shrunk_images_are_means():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert shrunk(x, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert enlarged(shrunk(x, 2), 2).shape == x.shape
    assert shrunk(x, 1) is x


@pytest.mark.parametrize("name", ["dm", "tm"])
def test_a_teacher_makes_the_labels_soft(name):
    task = small.task(small.images())
    made = condense(dataclasses.replace(small.METHODS[name], teacher=30), task, CARD)
    assert made.train.y.shape == (9, 3)
    torch.testing.assert_close(made.train.y.sum(1), torch.ones(9))
    hard = condense(small.METHODS[name], task, CARD).train.y
    assert (made.train.classes() == hard).float().mean() > 0.5
    assert (made.val.y.ndim == 2) == small.METHODS[name].both
    problem, hyper = task.condensed.problem, task.space.relax(task.space.configs(1, 0)[0])
    assert torch.isfinite(problem.inner(problem.init({}, torch.Generator()), hyper, made.train))


def test_labels_are_learned_with_the_images():
    task = small.task(small.images())
    driver = Bank(starts=4, stages=1, chunk=4, steps=5, batch=4)
    method = HCDC(train=small.Coreset(), start=small.Coreset(), driver=driver, soft=True, lr=0.05)
    made = condense(method, task, CARD)
    assert made.val.y.shape == (9, 3)
    torch.testing.assert_close(made.val.y.sum(1), torch.ones(9))
    assert not torch.equal(made.val.y, made.val.softened().y)
    with pytest.raises(DataError, match="`soft`"):
        HCDC(soft=True).init(small.task())


def test_soft_labels_survive_the_disk_and_broken_ones_do_not(tmp_path):
    made = condense(dataclasses.replace(small.METHODS["dm"], teacher=2), small.task(small.images()), CARD)
    made.save(tmp_path / "good")
    assert torch.equal(load_condensed(tmp_path / "good").train.y, made.train.y)
    Condensed(made.train.replace(y=2 * made.train.y), made.val, made.card).save(tmp_path / "bad")
    with pytest.raises(FormatError, match=r"`train.y` has a wrong range"):
        load_condensed(tmp_path / "bad")
