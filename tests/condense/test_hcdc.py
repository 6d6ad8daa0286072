"""The two losses of HCDC, its two drivers, and its guard against values that are not finite."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.func import vmap

from hcdc._tensors import ravel, stack
from hcdc.bilevel import CG, Adam, Direct, Implicit, Recipe, fit, hypergradients
from hcdc.condense import HCDC, Algorithm1, Bank, Measure, condense, total_derivative
from hcdc.condense.calibration import REJECTED, correlation, standard
from hcdc.condense.optimise import adam_step, no_longer
from hcdc.condense.points import Points
from hcdc.errors import ConvergenceError, InputError
from hcdc.store import DataCard
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)


def batch(task, count=3):
    hyper = stack([task.space.relax(config) for config in task.space.configs(count, 3)])
    train = task.real.train.take(task.real.train.nodes[:9])
    return hyper, train, fit(task.condensed.problem, hyper, train, Adam(30, 0.05), seed=0)


def test_what_reads_no_graph_is_condensed_too():
    """A filter of order 0: S_val's features are learned, and its edges stay as they were."""
    task = small.task()
    problem = dataclasses.replace(task.condensed.problem, order=0)
    recipe = Recipe(problem, task.condensed.solver)
    task = dataclasses.replace(task, condensed=recipe, full=recipe, space=problem.space())
    method = HCDC(driver=Bank(starts=4, stages=1, chunk=4, steps=3, batch=4))
    begun, made = method.init(task)["val"], condense(method, task, CARD).val
    assert not torch.equal(made.x, begun["x"])
    assert torch.equal(made.adjacency, begun["adjacency"])


@pytest.mark.parametrize("direct", [True, False])
def test_total_derivative_is_the_implicit_hypergradient(direct):
    task = small.task()
    problem = task.condensed.problem
    hyper, train, params = batch(task)
    solver = Implicit(Direct(), damping=0.1, direct=direct)
    points = Measure(synthetic=solver, direct=direct)(task, train, params, hyper, 0)
    found, read = total_derivative(problem, params, hyper, points.sensitivity, task.real.val, direct)
    expected, _ = hypergradients(problem, params, hyper, train, task.real.val, adjoint=solver, throw=False)
    torch.testing.assert_close(found, ravel(expected), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(read["criterion"], vmap(lambda p, h: problem.outer(p, h, task.real.val))(params, hyper))


@pytest.mark.parametrize("real", ["path", "synthetic", "trained"])
def test_every_real_hypergradient_is_finite_and_differs_in_kind(real):
    task = small.task()
    hyper, train, params = batch(task)
    target = Measure(real=real)(task, train, params, hyper, 0).target
    assert torch.isfinite(target).all()
    assert target.abs().sum() > 0


def test_on_the_real_data_itself_path_and_synthetic_targets_agree():
    task = small.task()
    hyper, _, _ = batch(task)
    params = fit(task.condensed.problem, hyper, task.real.train, Adam(100, 0.05), seed=0)
    exact = Implicit(CG(1e-6, 200), damping=0.1)
    path, synthetic = (Measure(exact, real, exact)(task, task.real.train, params, hyper, 0).target for real in ("path", "synthetic"))
    assert torch.nn.functional.cosine_similarity(path, synthetic).min() > 0.99


@pytest.mark.parametrize("term", ["align", "values", "accuracy"])
def test_the_gradient_of_every_term_is_right(term):
    """Against central differences in float64, through a smooth function of the features of S_val."""
    task = small.task()
    hyper, train, params = batch(task)
    method = HCDC()
    points = Measure()(task, train, params, hyper, 0)
    double = Points.from_tensors({key: value.double() for key, value in points.tensors().items()})
    val = task.real.val.take(task.real.val.nodes[:9])
    x, adjacency = val.x.double(), val.adjacency.double()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(features):
        return method.losses(task, double, val.replace(x=features, adjacency=adjacency))[term]

    leaf, step = x.clone().requires_grad_(), 1e-6
    slope = torch.autograd.grad(loss(leaf), leaf)[0]
    numeric = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    torch.testing.assert_close((slope * direction).sum(), numeric.detach(), rtol=1e-4, atol=1e-7)


def test_only_what_is_learned_moves():
    driver = Bank(starts=4, stages=1, chunk=4, steps=5, batch=4)
    frozen, moved = (condense(HCDC(driver=driver, structure=structure), small.task(), CARD) for structure in (False, True))
    assert frozen.val.adjacency.sum() == 0
    assert moved.val.adjacency.sum() > 0


@pytest.mark.parametrize(("term", "loss"), [("align", "alignment_loss"), ("values", "values_loss"), ("accuracy", "accuracy_loss")])
def test_the_term_that_weighs_most_falls(term, loss):
    """A mean over the first third of the steps against one over the last: one step's is of the points that it draws."""
    weights = {"align": 1e-3, "values": 1e-3, "accuracy": 1e-3} | {term: 1.0}
    driver = Bank(starts=8, stages=1, chunk=8, steps=90, batch=8)
    condensed = condense(HCDC(driver=driver, lr=1e-2, lr_structure=1e-2, **weights), small.task(), CARD)
    found = [record[loss] for record in condensed.card.history if loss in record]
    assert sum(found[-30:]) < sum(found[:30])


@pytest.mark.parametrize("term", ["align", "values", "accuracy"])
def test_a_dropped_term_has_no_weight(term):
    task = small.task()
    driver = Bank(starts=4, stages=1, chunk=4, steps=5, batch=4)
    every, others = (condense(HCDC(driver=driver, **weights), task, CARD) for weights in ({}, {term: 0.0}))
    assert not torch.equal(every.val.x, others.val.x)
    assert len(others.card.history[-1]) == len(every.card.history[-1]) - 1


@pytest.mark.parametrize("weights", [{"align": 0.0, "values": 0.0}, {"accuracy": -1.0}], ids=str)
def test_weights_that_learn_nothing_are_refused(weights):
    with pytest.raises(InputError, match="`align, values, accuracy`"):
        HCDC(**weights)


def test_hypergradients_are_those_of_the_loss_unless_asked_for_those_of_the_criterion():
    by_loss = small.task()
    soft = by_loss.condensed._replace(problem=dataclasses.replace(by_loss.condensed.problem, criterion="soft-accuracy"))
    by_accuracy = dataclasses.replace(by_loss, condensed=soft)
    hyper, train, params = batch(by_loss)
    wanted = Measure()(by_loss, train, params, hyper, 0)
    found, own = (Measure(gradients_of=which)(by_accuracy, train, params, hyper, 0) for which in ("loss", "criterion"))
    torch.testing.assert_close(found.target, wanted.target)
    torch.testing.assert_close(found.loss, wanted.loss)
    assert not torch.allclose(own.target, wanted.target)


def test_values_up_to_scale_and_shift():
    a = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert float(correlation(a, 3 * a - 2)) == pytest.approx(1, abs=1e-5)
    assert float(correlation(a, -a)) == pytest.approx(-1, abs=1e-5)
    assert float(correlation(a, torch.ones(50))) == 0
    assert float(standard(a).var(correction=0)) == pytest.approx(1, abs=1e-5)


def test_a_step_to_nan_is_taken_back_and_after_many_the_run_is_given_up():
    task = small.task()
    method = HCDC(driver=Bank(starts=4, stages=1, chunk=4, steps=30, batch=4))
    state = method.init(task)
    state, _ = method.step(task, state, 0)
    state["bank"] = {key: torch.full_like(value, float("nan")) if key == "target" else value for key, value in state["bank"].items()}
    after, _ = method.step(task, state, 1)
    assert torch.equal(after["val"]["x"], state["val"]["x"])
    assert float(after["health"]["rate"]) == 0.5
    state["health"] = state["health"] | {"rejected": torch.tensor(float(REJECTED - 1))}
    with pytest.raises(ConvergenceError, match="not finite"):
        method.step(task, state, 2)


def test_a_step_that_led_to_nan_is_taken_back():
    """The loss tells of the step before: where that led is left again."""
    task = small.task()
    method = HCDC(driver=Bank(starts=4, stages=1, chunk=4, steps=30, batch=4))
    start, _ = method.step(task, method.init(task), 0)
    once, _ = method.step(task, start, 1)
    astray = once | {"val": once["val"] | {"x": torch.full_like(once["val"]["x"], 3e38)}}
    back, metrics = method.step(task, astray, 2)
    assert not all(map(math.isfinite, metrics.values()))
    assert torch.equal(back["val"]["x"], start["val"]["x"])
    on, metrics = method.step(task, back, 3)
    assert all(map(math.isfinite, metrics.values()))
    assert not torch.equal(on["val"]["x"], back["val"]["x"])


@pytest.mark.parametrize(
    "driver", [Bank(starts=4, stages=1, chunk=4, steps=3, batch=1), Algorithm1(trajectories=1, repeats=1, updates=3, interval=3)]
)
def test_a_single_point_is_followed_by_its_hypergradient(driver):
    """Values of one point have no correlation, and no slope."""
    one = torch.ones(1, requires_grad=True)
    assert torch.autograd.grad(correlation(one, torch.ones(1)), one)[0].tolist() == [0.0]
    task, method = small.task(), HCDC(driver=driver)
    condensed = condense(method, task, CARD)
    assert not torch.equal(condensed.val.x, method.init(task)["val"]["x"])


@pytest.mark.parametrize("settings", [{"lr": -2e-3}, {"lr": math.nan}, {"lr_structure": 0.0}, {"lr": math.inf}], ids=str)
def test_rates_are_positive(settings):
    with pytest.raises(InputError, match=rf"`{next(iter(settings))}` = .*must be positive and finite"):
        HCDC(**settings)


def test_both_drivers_work_on_images():
    splits = small.images()
    card = CARD.model_copy(update={"kind": "images"})
    images = small.Coreset()
    for driver in (Bank(starts=4, stages=1, chunk=4, steps=3, batch=4), Algorithm1(trajectories=2, repeats=1, updates=2, interval=3)):
        condensed = condense(HCDC(train=images, start=images, driver=driver), small.task(splits), card)
        assert condensed.val.x.shape == (9, 1, 4, 4)
        assert not torch.equal(condensed.val.x, images.select(splits.val, 9, small.task(splits).generator(3)).x)


def test_a_recipe_of_the_full_data_is_used_for_trained_targets():
    task = small.task()
    other = dataclasses.replace(task, full=Recipe(task.condensed.problem, Adam(1, 0.01)))
    hyper, train, params = batch(task)
    first, second = (Measure(real="trained")(t, train, params, hyper, 0).target for t in (task, other))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("real", ["trained", "synthetic"])
def test_the_real_hypergradient_is_that_of_the_full_recipe(real):
    """Whose regularisation may be another; the criterion is the one that is read on S."""
    task = small.task()
    problem = dataclasses.replace(task.condensed.problem, weight_decay=1.0)
    task = dataclasses.replace(task, condensed=task.condensed._replace(problem=problem))
    hyper, train, params = batch(task)
    measure = Measure(real=real, real_solver=Implicit(Direct(), damping=1e-3))
    at = task.full.fit(hyper, task.real.train, seed=0) if real == "trained" else params
    wanted, _ = hypergradients(task.full.problem, at, hyper, task.real.train, task.real.val, adjoint=measure.real_solver, throw=False)
    torch.testing.assert_close(measure(task, train, params, hyper, 0).target, ravel(wanted))


def test_trained_values_are_those_of_models_of_the_full_data():
    task = small.task()
    hyper, train, params = batch(task)
    points, usual = (Measure(values=values)(task, train, params, hyper, 3) for values in ("trained", "synthetic"))
    trained = task.full.fit(hyper, task.real.train, seed=task.seed + 3)
    wanted = vmap(lambda p, h: task.full.problem.metrics(p, h, task.real.val))(trained, hyper)
    torch.testing.assert_close(points.loss, wanted["loss"])
    torch.testing.assert_close(points.accuracy, wanted["accuracy"])
    assert not torch.allclose(points.loss, usual.loss)
    assert torch.equal(points.target, usual.target)


def test_points_do_not_depend_on_how_many_are_measured_at_once():
    task = small.task()
    hyper, train, params = batch(task, 5)
    whole, one = (Measure(memory=memory)(task, train, params, hyper, 0) for memory in (2**30, 1))
    for key, value in whole.tensors().items():
        torch.testing.assert_close(one.tensors()[key], value, rtol=1e-4, atol=1e-6)


def test_sampled_neighbourhoods_come_near_the_whole_ones():
    task = small.task()
    hyper, train, params = batch(task, 5)
    exact, all_of_them, half = (Measure(neighbours=count)(task, train, params, hyper, 0).target for count in (None, 1000, 4))
    torch.testing.assert_close(all_of_them, exact)
    cosine = torch.nn.functional.cosine_similarity(half, exact)
    assert 0.7 < float(cosine.mean()) < 1


def test_one_batch_of_a_huge_slope_does_not_move_what_was_learned():
    leaves, rates, generator = {"x": torch.zeros(50)}, {"x": 0.01}, torch.Generator().manual_seed(0)
    moments = {}
    for _ in range(20):
        slope = {"x": torch.randn(50, generator=generator)}
        leaves, moments = adam_step(leaves, no_longer(slope, moments), moments, rates)
    usual = moments["x.exp_avg_sq"].sum()
    spike = {"x": 1e6 * torch.randn(50, generator=generator)}
    tamed = no_longer(spike, moments)
    torch.testing.assert_close(tamed["x"] / tamed["x"].norm(), spike["x"] / spike["x"].norm())
    _, after = adam_step(leaves, tamed, moments, rates)
    _, wild = adam_step(leaves, spike, moments, rates)
    assert after["x.exp_avg_sq"].sum() < 1.1 * usual < 1e6 * usual < wild["x.exp_avg_sq"].sum()
    short = {"x": 1e-3 * torch.ones(50)}
    assert torch.equal(no_longer(short, moments)["x"], short["x"])
    assert no_longer(spike, {}) == spike


@pytest.mark.parametrize("first", [0.0, 1e-30])
def test_a_tensor_whose_slopes_began_at_zero_still_moves(first):
    leaves, moments = {"x": torch.zeros(5)}, {}
    for size in (first, 1.0):
        leaves, moments = adam_step(leaves, no_longer({"x": torch.full((5,), size)}, moments), moments, {"x": 0.01})
    assert bool((leaves["x"] < -1e-3).all())
    assert torch.equal(no_longer({"x": torch.zeros(5)}, moments)["x"], torch.zeros(5))


@pytest.mark.parametrize(
    ("driver", "key"),
    [
        (Bank(starts=3, stages=1, chunk=3, steps=1, batch=2), "bank"),
        (Algorithm1(trajectories=3, repeats=1, updates=1, interval=1), "trajectory"),
    ],
)
def test_every_point_begins_with_parameters_of_its_own(driver, key):
    task, method = small.task(), HCDC(driver=driver)
    task = dataclasses.replace(task, condensed=task.condensed._replace(solver=Adam(1, 1e-9)))
    step = method.measure_more if isinstance(driver, Bank) else method.learn
    first, second, third = step(task, method.init(task), 0)[0][key]["params.w1"]
    assert min((first - second).norm(), (second - third).norm()) > 0.1 * first.norm()
