"""Spaces: properties that hold for every space that can be written down."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from hcdc.errors import SpaceError
from hcdc.spaces import Choice, Int, Real, Space
from tests.cases import generator, normal

examples = settings(deadline=None, max_examples=60, derandomize=True)


@st.composite
def reals(draw: st.DrawFn) -> Real:
    low = draw(st.floats(-1e6, 1e6))
    return Real(low, low + draw(st.floats(1e-3, 1e6)))


@st.composite
def ints(draw: st.DrawFn) -> Int:
    low = draw(st.integers(-(2**24), 2**24 - 1))
    return Int(low, draw(st.integers(low + 1, 2**24)))


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Up to three groups, each of several elements, named in any order."""
    axes: dict[str, Any] = {}
    for group in draw(st.sets(st.sampled_from("abcd"), min_size=1, max_size=3)):
        size = draw(st.integers(0, 12))
        names = [f"{group}.{i}" for i in range(size)] or [group]
        if draw(st.booleans()):
            options = tuple("klmnop"[: draw(st.integers(2, 6))])
            axes |= dict.fromkeys(names, Choice(options))
        else:
            axes |= {name: draw(st.one_of(reals(), ints())) for name in names}
    return Space({name: axes[name] for name in draw(st.permutations(sorted(axes)))})


def close(one: object, other: object) -> bool:
    """Equal, up to what float32 rounds away."""
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-30) if isinstance(one, float) and isinstance(other, float) else one == other


@examples
@given(spaces(), st.integers(0, 2**31))
def test_round_undoes_relax(space: Space, seed: int) -> None:
    config = space.sample(generator(seed))
    back = space.round(space.relax(config))
    assert list(back) == list(space.axes)
    assert all(close(back[name], config[name]) for name in config)
    assert all(type(back[name]) is type(config[name]) for name in config)


@examples
@given(spaces(), st.integers(0, 2**31))
def test_samples_lie_within_the_axes(space: Space, seed: int) -> None:
    draws = generator(seed)
    for _ in range(5):
        config = space.sample(draws)
        space.check(config)
        for name, axis in space.axes.items():
            assert config[name] in axis.options if isinstance(axis, Choice) else axis.low <= config[name] <= axis.high


@examples
@given(spaces(), st.integers(0, 2**31), st.floats(0, 1e7))
def test_projection_is_feasible_and_idempotent(space: Space, seed: int, scale: float) -> None:
    start = space.relax(space.sample(generator(seed)))
    point = {key: value + scale * normal(*value.shape, seed=seed).float() for key, value in start.items()}
    once = space.project(point)
    for group, value in once.items():
        axes = [space.axes[name] for name in sorted(space.axes, key=lambda n: (len(n), n)) if name.split(".")[0] == group]
        if isinstance(axes[0], Choice):
            assert (value >= 0).all()
            torch.testing.assert_close(value.sum(-1), torch.ones(len(axes)), rtol=0, atol=2e-6)
        else:
            low, high = (torch.tensor([float(getattr(axis, end)) for axis in axes]) for end in ("low", "high"))
            assert ((value >= low) & (value <= high)).all()
    again = space.project(once)
    assert all(torch.allclose(again[key], once[key], rtol=0, atol=1e-6) for key in once)
    space.check(space.round(once))


@examples
@given(spaces(), st.integers(0, 2**31))
def test_relaxed_configurations_are_left_where_they_are(space: Space, seed: int) -> None:
    point = space.relax(space.sample(generator(seed)))
    assert all(torch.allclose(value, point[key], rtol=1e-6) for key, value in space.project(point).items())


@examples
@given(spaces(), st.integers(0, 2**31))
def test_interior_points_are_feasible(space: Space, seed: int) -> None:
    point = space.interior(generator(seed))
    assert all(torch.allclose(value, point[key], rtol=1e-5, atol=1e-6) for key, value in space.project(point).items())
    space.check(space.round(point))


@examples
@given(spaces(), st.integers(0, 2**31), st.floats(-1e7, 1e7))
def test_rounding_any_point_gives_a_configuration(space: Space, seed: int, shift: float) -> None:
    space.check(space.round({key: value + shift for key, value in space.interior(generator(seed)).items()}))


def nearest_weights(value: Tensor) -> Tensor:
    """The projection onto the simplex by bisection on its threshold."""
    low, high = value.min() - 1, value.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (value - middle).clamp_min(0).sum() > 1 else (low, middle)
    return (value - low).clamp_min(0)


@examples
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8))
def test_choices_are_projected_onto_the_simplex(values: list[float]) -> None:
    point = torch.tensor(values, dtype=torch.float64)
    space = Space({"op": Choice(tuple(map(str, range(len(values)))))})
    torch.testing.assert_close(space.project({"op": point.unsqueeze(0)})["op"][0], nearest_weights(point), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("far", "near"), [([1e9, 0, -1e9], [1, 0, 0]), ([3e7, 3e7, 1], [0.5, 0.5, 0]), ([-1e30] * 3, [1 / 3] * 3)])
def test_choices_far_from_the_simplex(far: list[float], near: list[float]) -> None:
    """Where float32 cannot tell x from x - 1."""
    found = Space({"op": Choice(("a", "b", "c"))}).project({"op": torch.tensor([far])})["op"][0]
    torch.testing.assert_close(found, torch.tensor(near, dtype=torch.float32))


def test_weights_that_are_no_numbers_stay_so() -> None:
    """A diverged point is seen as one; the other choices are projected as ever."""
    space = Space({"op.0": Choice(("a", "b")), "op.1": Choice(("a", "b"))})
    found = space.project({"op": torch.tensor([[math.nan, 1.0], [3.0, 1.0]])})["op"]
    assert found[0].isnan().all()
    assert found[1].tolist() == [1, 0]


def test_projection_of_a_batch_is_that_of_its_members() -> None:
    space = Space({"op.0": Choice(("a", "b", "c")), "op.1": Choice(("a", "b", "c")), "x": Real(-1, 1)})
    batch = {"op": 3 * normal(4, 2, 3, seed=0), "x": 3 * normal(4, 1, seed=1)}
    together = space.project(batch)
    for i in range(4):
        alone = space.project({key: value[i] for key, value in batch.items()})
        assert all(torch.equal(alone[key], together[key][i]) for key in alone)


def test_shapes_of_a_group() -> None:
    choice = Choice(("a", "b", "c"))
    space = Space({"op.0": choice, "op.1": choice, "filter.0": Real(-1, 1), "filter.1": Int(0, 4), "decay": Real(-4, 0)})
    hyper = space.relax({"op.0": "b", "op.1": "c", "filter.0": 0.5, "filter.1": 3, "decay": -2.0})
    assert hyper["op"].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert hyper["filter"].tolist() == [0.5, 3]
    assert hyper["decay"].tolist() == [-2]


def test_an_element_is_where_its_number_says() -> None:
    """Twelve elements named in reverse, as a file may hold them: "filter.10" is not next to "filter.1"."""
    names = [f"filter.{i}" for i in range(12)]
    space = Space({name: Real(-100, 100) for name in reversed(names)})
    config = {name: float(i) for i, name in enumerate(names)}
    assert space.relax(config)["filter"].tolist() == list(range(12))
    assert space.round(space.relax(config)) == config


def test_configs_are_reproducible_and_leave_the_global_generator_alone() -> None:
    space, before = Space({"x": Real(0, 1), "n": Int(0, 9)}), torch.get_rng_state()
    assert space.configs(5, seed=3) == space.configs(5, seed=3) != space.configs(5, seed=4)
    assert space.configs(9, seed=3)[:5] == space.configs(5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_distinct_configurations_are_the_first_that_differ() -> None:
    few, many = Space({"n": Int(2, 4), "c": Choice(("a", "b"))}), Space({"x": Real(0, 1)})
    found = few.distinct(4, seed=3)
    repeated = few.configs(60, seed=3)
    assert found == [config for at, config in enumerate(repeated) if config not in repeated[:at]][:4]
    assert len(few.distinct(100, seed=3)) == 6
    assert many.distinct(9, seed=3) == many.configs(9, seed=3)
    with pytest.raises(SpaceError):
        few.distinct(0, seed=3)


def test_every_value_of_an_integer_and_a_choice_is_drawn() -> None:
    configs = Space({"n": Int(2, 4), "c": Choice(("a", "b"))}).configs(60, seed=0)
    assert {config["n"] for config in configs} == {2, 3, 4}
    assert {config["c"] for config in configs} == {"a", "b"}


def test_grid() -> None:
    space = Space({"x": Real(-1, 1), "n": Int(0, 2), "c": Choice(("a", "b"))})
    grid = list(space.grid(3))
    assert space.grid_size(3) == len(grid) == len({tuple(config.items()) for config in grid}) == 3 * 3 * 2
    assert grid[0] == {"x": -1.0, "n": 0, "c": "a"}
    assert grid[-1] == {"x": 1.0, "n": 2, "c": "b"}
    for config in grid:
        space.check(config)
    assert space.grid_size(9) == 9 * 3 * 2, "an integer has no more than its values"


BAD_AXES = {
    "swapped": lambda: Real(1.0, -1.0),
    "a point": lambda: Real(1.0, 1.0),
    "NaN": lambda: Real(math.nan, 1.0),
    "infinite": lambda: Real(0.0, math.inf),
    "swapped integers": lambda: Int(3, 1),
    "an integer that is none": lambda: Int(0.5, 3),
    "more than float32 holds": lambda: Int(0, 2**25),
    "less than float32 holds": lambda: Int(-(2**25), 0),
    "no option": lambda: Choice(()),
    "one option": lambda: Choice(("a",)),
    "an option twice": lambda: Choice(("a", "b", "a")),
    "no axis": lambda: Space({}),
    "widths": lambda: Space({"op.0": Choice(("a", "b")), "op.1": Choice(("a", "b", "c"))}),
    "kinds": lambda: Space({"op.0": Choice(("a", "b")), "op.1": Real(0, 1)}),
    "an element missing": lambda: Space({"op.0": Real(0, 1), "op.2": Real(0, 1)}),
    "an element of no number": lambda: Space({"op.a": Real(0, 1)}),
    "a group and its element": lambda: Space({"op": Real(0, 1), "op.0": Real(0, 1)}),
    "no configuration": lambda: Space({"x": Real(0, 1)}).configs(0, seed=0),
}


@pytest.mark.parametrize("make", BAD_AXES.values(), ids=BAD_AXES)
def test_bad_axes_are_refused(make: Any) -> None:
    with pytest.raises(SpaceError) as caught:
        make()
    assert caught.value.rule
    assert caught.value.remedy


def test_what_lies_outside_of_a_narrow_axis_is_refused() -> None:
    narrow = Space({"penalty": Real(0.0, 1e-7)})
    narrow.check({"penalty": 1e-7})
    with pytest.raises(SpaceError, match="penalty"):
        narrow.check({"penalty": -1e-8})
    Space({"x": Real(0.0, 0.3)}).check({"x": 0.1 + 0.2})


GOOD = {"x": 0.5, "n": 2, "c": "a"}
BAD_CONFIGS = {
    "an axis missing": ({"x": 0.5, "n": 2}, "c"),
    "an axis too many": (GOOD | {"y": 1.0}, "y"),
    "above": (GOOD | {"x": 1.1}, "x"),
    "below": (GOOD | {"n": -1}, "n"),
    "NaN": (GOOD | {"x": math.nan}, "x"),
    "a fraction": (GOOD | {"n": 1.5}, "n"),
    "text for a number": (GOOD | {"x": "0.5"}, "x"),
    "a truth value for a number": (GOOD | {"x": True}, "x"),
    "a truth value for an integer": (GOOD | {"n": True}, "n"),
    "another option": (GOOD | {"c": "z"}, "c"),
}


@pytest.mark.parametrize(("config", "named"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_bad_configurations_are_refused(config: dict[str, Any], named: str) -> None:
    space = Space({"x": Real(0, 1), "n": Int(0, 4), "c": Choice(("a", "b"))})
    space.check(GOOD)
    for use in (space.check, space.relax):
        with pytest.raises(SpaceError, match=named):
            use(config)


WIDE = Space({"a.0": Real(-1, 1), "a.1": Real(-1, 1), "n": Int(1, 5), "op": Choice(("x", "y"))})


@pytest.mark.parametrize(("changes", "beyond"), [
    ({}, []),
    ({"a.0": Real(-0.5, 1), "n": Int(2, 3)}, []),
    ({"a.1": Int(-1, 1)}, []),
    ({"a.0": Real(-1, 1.5)}, ["a.0"]),
    ({"a.0": Real(-2, 0), "n": Int(0, 5)}, ["a.0", "n"]),
    ({"n": Real(1, 5)}, ["n"]),
    ({"n": Real(1.5, 2.5)}, ["n"]),
    ({"op": Choice(("y", "x"))}, ["op"]),
    ({"op": Choice(("x", "y", "z"))}, ["op"]),
    ({"op": Real(0, 1)}, ["op"]),
    ({"more": Real(0, 1)}, ["more"]),
    ({"a.0": Real(-1, 2), "more": Real(0, 1)}, ["a.0", "more"]),
])  # fmt: skip
def test_beyond_names_the_axes_with_values_that_the_space_lacks(changes, beyond):
    assert WIDE.beyond(Space({**WIDE.axes, **changes})) == beyond


def test_beyond_names_axes_that_are_left_out():
    assert WIDE.beyond(Space({"n": Int(1, 5)})) == ["a.0", "a.1", "op"]


def test_shapes_are_those_of_the_tensors():
    assert WIDE.shapes() == {"a": [2], "n": [1], "op": [1, 2]}


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(SpaceError, match="`seed`"):
        Space({"x": Real(0, 1)}).configs(2, seed)
