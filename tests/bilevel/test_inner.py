"""The inner solver: what it converges to, what it draws, and that members of a batch do not meet."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc._tensors import expand, stack, take
from hcdc.bilevel import SGD, Adam, Recipe, Solver, descend, fit, initialise
from hcdc.errors import InputError
from tests.cases import Ridge, Smooth, Table, normal, ridge_point, smooth_point
from tests.reference import optimum, second_order


class Noisy(Ridge):
    """Ridge with noise on its inputs; remembers what was drawn and what it was trained on."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []
        self.draws: list[Tensor] = []

    def noise(self, data: Any, generator: torch.Generator) -> dict[str, Tensor]:
        self.batches.append(data.y)
        self.draws.append(torch.randn(data.x.shape, generator=generator, dtype=torch.float64))
        return {"x": self.draws[-1]}

    def noisy(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Any, noise: dict[str, Tensor]) -> Tensor:
        return self.inner(params, hyper, Table(data.x + noise["x"], data.y))


def test_reaches_the_minimum() -> None:
    """Three decays at once, each to its own ridge solution."""
    point, decays = ridge_point(), torch.tensor([[-3.0], [-1.0], [1.0]], dtype=torch.float64)
    found = fit(Ridge(), {"log_decay": decays}, point.train, Adam(steps=1000, lr=0.02), seed=0)
    for weights, decay in zip(found["w"], decays, strict=True):
        torch.testing.assert_close(weights, optimum.ridge(point.train.x, point.train.y, decay.squeeze())[0], rtol=1e-5, atol=1e-7)


def test_steps_are_those_of_adam() -> None:
    """Against the update of Kingma and Ba, Algorithm 1, written out."""
    point, lr = smooth_point(), 0.05
    found = fit(Smooth(), expand(point.hyper, 1), point.train, Adam(steps=4, lr=lr), seed=0, params=expand(point.params, 1))
    theta = second_order.flatten(point.params)
    first, second = torch.zeros_like(theta), torch.zeros_like(theta)
    for t in range(1, 5):
        gradient = optimum.slope(Smooth(), second_order.unflatten(theta, point.params), point.hyper, point.train)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        theta = theta - lr * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
    torch.testing.assert_close(second_order.flatten(take(found, 0)), theta)


@pytest.mark.parametrize("limit", [None, 0.1], ids=["as they are", "clipped"])
def test_steps_are_those_of_sgd(limit: float | None) -> None:
    """Against heavy-ball momentum written out, with the joint norm of the gradient limited and the rate on a cosine."""
    point, solver = smooth_point(), SGD(4, 0.5, None, last=0.1, momentum=0.8, limit=limit)
    found = fit(Smooth(), expand(point.hyper, 1), point.train, solver, seed=0, params=expand(point.params, 1))
    theta = second_order.flatten(point.params)
    velocity = torch.zeros_like(theta)
    for t in range(4):
        gradient = optimum.slope(Smooth(), second_order.unflatten(theta, point.params), point.hyper, point.train)
        if limit is not None:
            assert gradient.norm() > limit
            gradient = gradient * limit / gradient.norm()
        velocity = 0.8 * velocity + gradient
        theta = theta - (0.1 + 0.4 * (1 + math.cos(math.pi * t / 4)) / 2) * velocity
    torch.testing.assert_close(second_order.flatten(take(found, 0)), theta)


def test_a_gradient_below_the_limit_is_left_as_it_is() -> None:
    point = smooth_point()
    free, bound = (
        fit(Smooth(), expand(point.hyper, 2), point.train, SGD(3, limit=limit), seed=0, params=expand(point.params, 2)) for limit in (None, 1e3)
    )
    assert all(torch.equal(free[name], bound[name]) for name in free)


def test_epochs_of_sgd() -> None:
    """A last short batch is a step."""
    assert SGD.lasting(50, 500).steps == 400
    assert SGD.lasting(2, 64).steps == 2
    assert SGD.lasting(3, 10, batch_size=None, lr=0.1) == SGD(3, 0.1, None)


def test_one_model_descends_as_in_a_batch() -> None:
    point, solver = smooth_point(), SGD(5, 0.3, batch_size=6, limit=0.2)
    alone = descend(lambda params, batch, _: Smooth().inner(params, point.hyper, batch), point.params, point.train, solver, seed=2)
    together = fit(Smooth(), expand(point.hyper, 2), point.train, solver, seed=2, params=expand(point.params, 2))
    torch.testing.assert_close(alone, take(together, 1))


@pytest.mark.parametrize("solver", [Adam(30), Adam(30, batch_size=6), SGD(30, 0.2, batch_size=6, limit=0.1)], ids=["whole", "batches", "SGD"])
def test_a_member_does_not_depend_on_its_neighbours(solver: Solver) -> None:
    point = smooth_point()
    points = [{key: value + shift for key, value in point.hyper.items()} for shift in (0.0, 0.5, -0.5)]
    together = fit(Smooth(), stack(points), point.train, solver, seed=3)
    for i, hyper in enumerate(points):
        alone = fit(Smooth(), stack([hyper]), point.train, solver, seed=3)
        torch.testing.assert_close(take(together, i), take(alone, 0), rtol=1e-8, atol=1e-10)


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    point, solver = ridge_point(), Adam(5, batch_size=4)
    before = torch.get_rng_state()
    one, again, other = (fit(Noisy(), expand(point.hyper, 1), point.train, solver, seed=seed)["w"] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_and_batches_depend_on_the_seed() -> None:
    """From the same start, and from a stream of their own."""
    point, params = ridge_point(), {"w": normal(1, 3, seed=9)}
    problems = [Noisy(), Noisy()]
    for seed, problem in enumerate(problems):
        fit(problem, expand(point.hyper, 1), point.train, Adam(3, batch_size=4), seed=seed, params=params)
    assert not torch.equal(problems[0].draws[0], problems[1].draws[0])
    assert not torch.equal(problems[0].batches[0], problems[1].batches[0])


def test_initial_parameters_are_common() -> None:
    """The same draws for every member, in memory of their own."""
    start = initialise(Ridge(), {"log_decay": torch.zeros(3, 1, dtype=torch.float64)}, seed=5)["w"]
    assert start.shape == (3, 3)
    assert torch.equal(start[0], start[2])
    start[0] += 1
    assert not torch.equal(start[0], start[2])


def test_given_parameters_are_where_it_starts_and_stay_as_they_were() -> None:
    point = ridge_point()
    params = {"w": normal(1, 3, seed=9)}
    kept = params["w"].clone()
    found = fit(Ridge(), expand(point.hyper, 1), point.train, Adam(steps=1, lr=1e-3), seed=0, params=params)
    assert torch.equal(params["w"], kept)
    torch.testing.assert_close((found["w"] - kept).abs(), torch.full((1, 3), 1e-3, dtype=torch.float64), rtol=1e-4, atol=0)
    assert not found["w"].requires_grad


def test_batches_are_equal_and_an_epoch_repeats_nothing() -> None:
    data = Table(normal(11, 3, seed=0), torch.arange(11.0, dtype=torch.float64))
    problem = Noisy()
    fit(problem, expand(ridge_point().hyper, 1), data, Adam(steps=6, batch_size=4), seed=0)
    assert [len(batch) for batch in problem.batches] == [4] * 6
    epochs = [torch.cat(problem.batches[i : i + 2]) for i in (0, 2, 4)]
    assert all(len(epoch.unique()) == 8 for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1]), "not shuffled"


@pytest.mark.parametrize("size", [11, 12, None])
def test_a_batch_as_large_as_the_data_is_the_data(size: int | None) -> None:
    data = Table(normal(11, 3, seed=0), torch.arange(11.0, dtype=torch.float64))
    problem = Noisy()
    fit(problem, expand(ridge_point().hyper, 1), data, Adam(steps=2, batch_size=size), seed=0)
    assert all(torch.equal(batch, data.y) for batch in problem.batches)


def test_noise_is_drawn_once_a_step_for_all_members() -> None:
    problem, point = Noisy(), ridge_point()
    found = fit(problem, expand(point.hyper, 3), point.train, Adam(steps=7), seed=0)
    assert len(problem.draws) == 7
    assert not torch.equal(problem.draws[0], problem.draws[1])
    assert torch.equal(found["w"][0], found["w"][2])


def test_recipe_is_problem_and_solver() -> None:
    point, solver = ridge_point(), Adam(steps=3)
    hyper = expand(point.hyper, 2)
    made, expected = Recipe(Ridge(), solver).fit(hyper, point.train, seed=4), fit(Ridge(), hyper, point.train, solver, seed=4)
    assert torch.equal(made["w"], expected["w"])


@pytest.mark.parametrize("every", [1, 3, 4, 10, 11])
@pytest.mark.parametrize("solver", [Adam(10), Adam(10, batch_size=4)], ids=["whole", "batches"])
def test_pieces_end_in_the_bits_of_one_go(solver: Adam, every: int) -> None:
    """Under noise and mini-batches too; a piece stays what it was when the next is made."""
    point = ridge_point()
    recipe, hyper = Recipe(Noisy(), solver), expand(point.hyper, 2)
    pieces = [params["w"] for params in recipe.training(hyper, point.train, seed=3, every=every)]
    assert len(pieces) == -(-10 // every)
    assert torch.equal(pieces[-1], recipe.fit(hyper, point.train, seed=3)["w"])
    for number, piece in enumerate(pieces[:-1], 1):
        assert torch.equal(piece, fit(Noisy(), hyper, point.train, Adam(number * every, batch_size=solver.batch_size), seed=3)["w"])


def test_pieces_of_no_steps_are_refused() -> None:
    point = ridge_point()
    with pytest.raises(InputError, match="`every` = 0"):
        next(Recipe(Ridge(), Adam(3)).training(expand(point.hyper, 1), point.train, seed=0, every=0))


@pytest.mark.parametrize(("settings", "named"), [
    ({"steps": 0}, "steps"), ({"lr": 0.0}, "lr"), ({"lr": -math.inf}, "lr"), ({"batch_size": 0}, "batch_size"),
])  # fmt: skip
def test_settings_out_of_range(settings: dict[str, Any], named: str) -> None:
    for solver in (Adam, SGD):
        with pytest.raises(InputError, match=named):
            solver(**settings)


@pytest.mark.parametrize("settings", [{"last": 0.1}, {"last": -0.1}, {"momentum": 1.0}, {"momentum": -0.1}, {"limit": 0.0}], ids=str)
def test_settings_of_sgd_out_of_range(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=f"^`{name}` = "):
        SGD(**settings)
