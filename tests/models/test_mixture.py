"""Options: what has a weight is computed, what has none is not, and the numbers are the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from hcdc._tensors import expand, stack, take
from hcdc.bilevel import Adam, Sparing, fit, readings, together
from hcdc.models import Classifier, problem_for
from hcdc.models.mixture import first_units, in_use, mixed
from tests.cases import as_double, dense_graph, double, generator, normal, random_images
from tests.models.test_tabular import table

GRAPH, IMAGES, TABLE = as_double(dense_graph()), random_images(), table(3)
FAMILIES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "appnp": (GRAPH, "appnp", {"steps": (1, 2, 4), "widths": (2, 3, 6)}),
    "graphnas": (GRAPH, "graphnas", {"heads": (1, 2, 3), "widths": (2, 4), "pool": 5}),
    "mlp": (TABLE, "mlp", {}),
    "convmix": (IMAGES, "convmix", {"width": 4}),
    "convnet": (IMAGES, "convnet", {"width": 8, "searched": ("depth", "width", "kernel", "activation", "pooling")}),
    "nasbench201": (IMAGES, "nasbench201", {"channels": 4, "activation": "softplus"}),
}
"""Every family with choices: its data and its settings."""
ONE_HOT = torch.tensor([0.0, 1.0, 0.0])


def called(weights: Tensor) -> list[int]:
    """The options that `mixed` computes."""
    seen: list[int] = []

    def option(index: int) -> Tensor:
        seen.append(index)
        return torch.tensor(float(index))

    mixed(weights, [partial(option, index) for index in range(weights.shape[-1])])
    return seen


def test_an_option_without_a_weight_is_not_computed() -> None:
    assert called(ONE_HOT) == [1]
    assert called(torch.tensor([0.5, 0.0, 0.5])) == [0, 2]
    assert float(mixed(torch.tensor([0.0, 2.0, 1.0]), [lambda: torch.tensor(torch.nan), *[lambda: torch.tensor(3.0)] * 2])) == 9.0


def test_every_option_is_computed_where_the_weights_are_not_known() -> None:
    """Where they are batched, and where a derivative by them may be asked for: that of an option without a weight is not 0."""
    seen: list[list[int]] = []

    def use(weights: Tensor) -> Tensor:
        seen.append(in_use(weights))
        return weights.sum()

    use(ONE_HOT.clone().requires_grad_())
    vmap(use)(ONE_HOT.unsqueeze(0))
    grad(use)(ONE_HOT)
    use(torch.zeros(3))
    use(ONE_HOT)
    assert seen == [[0, 1, 2]] * 4 + [[1]]


def test_a_mask_is_as_long_as_the_widest_in_use() -> None:
    assert first_units(ONE_HOT, (1, 3, 5)).tolist() == [1, 1, 1]
    torch.testing.assert_close(first_units(torch.tensor([0.25, 0.75, 0.0]), (1, 3, 5)), torch.tensor([1.0, 0.75, 0.75]))
    assert vmap(lambda weights: first_units(weights, (1, 3, 5)))(ONE_HOT.unsqueeze(0)).tolist() == [[1, 1, 1, 0, 0]]


def case(name: str, **settings: Any) -> tuple[Classifier, Any]:
    data, family, given = FAMILIES[name]
    return problem_for(data, family, **given, **settings), data


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_left_out_changes_nothing(name: str) -> None:
    """Loss under noise and its gradient, of one configuration alone and of the same in a batch, where nothing is left out."""
    problem, data = case(name, dropout=0.5)
    space = problem.space()
    noise = problem.noise(data, generator(1))
    for config in space.configs(6, 0):
        hyper = double(space.relax(config))
        params = {key: normal(*value.shape, seed=seed) for seed, (key, value) in enumerate(problem.init(hyper, generator(0)).items())}

        def loss(p: Any, h: Any) -> Tensor:
            return problem.noisy(p, h, data, noise)

        alone, whole = loss(params, hyper), vmap(loss)(expand(params, 1), expand(hyper, 1))
        torch.testing.assert_close(alone, whole[0])
        slopes, whole_slopes = grad(loss)(params, hyper), vmap(grad(loss))(expand(params, 1), expand(hyper, 1))
        torch.testing.assert_close(slopes, {key: value[0] for key, value in whole_slopes.items()})


@pytest.mark.parametrize("name", FAMILIES)
def test_a_training_alone_is_the_training_in_a_batch(name: str) -> None:
    """As far as the parameters are read: those of an option left out are not."""
    problem, data = case(name)
    hyper = stack([double(problem.space().relax(config)) for config in problem.space().configs(2, 3)])
    start = {key: normal(2, *value.shape, seed=seed) for seed, (key, value) in enumerate(problem.init(hyper, generator(0)).items())}
    trained = partial(fit, problem, data=data, solver=Adam(5, 0.01), seed=0)
    whole = readings(problem, trained(hyper=hyper, params=start), hyper, data)
    for member in (slice(0, 1), slice(1, 2)):
        point = take(hyper, member)
        alone = readings(problem, trained(hyper=point, params=take(start, member)), point, data)
        torch.testing.assert_close(alone, take(whole, member))


@pytest.mark.parametrize(("memory", "expected"), [(2**40, 1), (0, 12)])
def test_heavy_models_of_configurations_come_one_by_one(memory: int, expected: int) -> None:
    """Where not all that fit would be a full batch; of relaxed hyperparameters, and of a family without choices, none do."""
    problem, data = case("appnp")
    assert isinstance(problem, Sparing)
    assert problem.spares()
    assert len(together(problem, data, 12, memory, chosen=True)) == expected
    some = 3 * problem.footprint(data)
    assert [len(together(problem, data, 12, some, chosen=chosen)) for chosen in (False, True)] == [4, 12]
    plain = problem_for(data, "polyfilter")
    assert not plain.spares()
    assert len(together(plain, data, 12, 3 * plain.footprint(data), chosen=True)) == 4
