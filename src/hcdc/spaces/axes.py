"""Search spaces: named axes, their samples, and the continuous relaxation that hypergradients need."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from hcdc._tensors import simplex, stack
from hcdc._typing import Config, Hyper
from hcdc.errors import SpaceError


@dataclass(frozen=True)
class Real:
    """A number in [low, high], in the coordinate in which hypergradient steps are taken."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)

    @property
    def width(self) -> int:
        return 1

    def sample(self, generator: torch.Generator) -> float:
        return self.low + (self.high - self.low) * float(torch.rand((), generator=generator, dtype=torch.float64))

    def grid(self, points: int) -> list[float]:
        return [float(v) for v in torch.linspace(self.low, self.high, points, dtype=torch.float64)]

    def relax(self, value: float | int | str) -> list[float]:
        return [float(value)]

    def round(self, point: Tensor) -> float:
        return min(max(float(point[0]), self.low), self.high)

    def admits(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        rounding = 1e-6 * (self.high - self.low) + 1e-7 * max(abs(self.low), abs(self.high))
        return self.low - rounding <= value <= self.high + rounding


@dataclass(frozen=True)
class Int:
    """An integer in {low, ..., high}, relaxed to the interval between."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)
        if {type(self.low), type(self.high)} != {int} or max(-self.low, self.high) > 2**24:
            rule = "must be integers up to 2^24, which float32 holds exactly"
            raise SpaceError("low, high", (self.low, self.high), rule, "rescale the axis")

    @property
    def width(self) -> int:
        return 1

    def sample(self, generator: torch.Generator) -> int:
        return int(torch.randint(self.low, self.high + 1, (), generator=generator))

    def grid(self, points: int) -> list[int]:
        return sorted({round(v) for v in torch.linspace(self.low, self.high, points, dtype=torch.float64).tolist()})

    def relax(self, value: float | int | str) -> list[float]:
        return [float(value)]

    def round(self, point: Tensor) -> int:
        return min(max(round(float(point[0])), self.low), self.high)

    def admits(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of several options, relaxed to weights over them: [1, 0, 0] is the first."""

    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.options) < 2 or len(set(self.options)) < len(self.options):
            raise SpaceError("options", self.options, "needs two or more different options", "drop the axis or its repetitions")

    @property
    def width(self) -> int:
        return len(self.options)

    def sample(self, generator: torch.Generator) -> str:
        return self.options[int(torch.randint(len(self.options), (), generator=generator))]

    def grid(self, points: int) -> list[str]:
        return list(self.options)

    def relax(self, value: float | int | str) -> list[float]:
        return [float(option == value) for option in self.options]

    def round(self, point: Tensor) -> str:
        return self.options[int(point.argmax())]

    def admits(self, value: object) -> bool:
        return value in self.options


Axis: TypeAlias = Real | Int | Choice


def seeded(seed: int) -> torch.Generator:
    """A generator from `seed` as it is; raises `SpaceError` for one that torch does not take."""
    if not -(2**63) <= seed < 2**63:
        raise SpaceError("seed", seed, "must be a number of 64 bits", "take a smaller one")
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Space:
    """Named axes, grouped into the tensors that a model family reads.

    An axis "filter.2" is element 2 of the hyperparameter tensor "filter"; a `Choice` contributes one weight an option,
    so that three choices of four options "op.0" to "op.2" make "op" [3, 4]. A name without a dot is a tensor of its own.
    """

    axes: Mapping[str, Axis]

    def __post_init__(self) -> None:
        if not self.axes:
            raise SpaceError("axes", {}, "a space needs at least one axis", "name one, as in Space({'filter.0': Real(-1, 1)})")
        for group, names in self._groups().items():
            widths = {self.axes[name].width for name in names}
            if len(widths) > 1:
                raise SpaceError(group, names, "axes of one group must be of one width", "use another prefix for some of them")
            if names != [group] and names != [f"{group}.{index}" for index in range(len(names))]:
                raise SpaceError(group, names, "elements of a group are numbered 0, 1, 2, ...", "name every one of them once")

    def _groups(self) -> dict[str, list[str]]:
        """The names of each group, in the order of their elements, in whatever order the axes were given."""
        groups: dict[str, list[str]] = {}
        for name in self.axes:
            groups.setdefault(name.split(".")[0], []).append(name)
        return {group: sorted(names, key=lambda name: (len(name), name)) for group, names in groups.items()}

    def shapes(self) -> dict[str, list[int]]:
        """Name and shape of every hyperparameter tensor."""
        groups = sorted(self._groups().items())
        return {
            group: [len(names), self.axes[names[0]].width] if isinstance(self.axes[names[0]], Choice) else [len(names)] for group, names in groups
        }

    def sample(self, generator: torch.Generator) -> dict[str, float | int | str]:
        """One configuration, each axis drawn uniformly."""
        return {name: axis.sample(generator) for name, axis in self.axes.items()}

    def configs(self, count: int, seed: int) -> list[dict[str, float | int | str]]:
        """`count` configurations drawn uniformly with a generator of their own."""
        return list(itertools.islice(self._drawn(count, seed), count))

    def distinct(self, count: int, seed: int) -> list[dict[str, float | int | str]]:
        """The first `count` of `configs` that differ, or all that the space has where they are fewer."""
        most = min(count, math.prod(_members(axis) for axis in self.axes.values()))
        found: dict[tuple[float | int | str, ...], dict[str, float | int | str]] = {}
        for config in self._drawn(count, seed):
            found.setdefault(tuple(config.values()), config)
            if len(found) >= most:
                break
        return list(found.values())

    def _drawn(self, count: int, seed: int) -> Iterator[dict[str, float | int | str]]:
        """Configurations without end; raises `SpaceError` for a `count` or seed that cannot be."""
        if count < 1:
            raise SpaceError("count", count, "must be at least 1", "ask for one configuration or more")
        generator = seeded(seed)
        return (self.sample(generator) for _ in itertools.count())

    def grid(self, points: int) -> Iterator[dict[str, float | int | str]]:
        """The product of the axes, `points` values on each numeric one; of many axes it has more members than memory holds."""
        values = [axis.grid(points) for axis in self.axes.values()]
        return (dict(zip(self.axes, combination, strict=True)) for combination in itertools.product(*values))

    def grid_size(self, points: int) -> int:
        """How many configurations `grid` gives."""
        return math.prod(len(axis.grid(points)) for axis in self.axes.values())

    def beyond(self, other: Space) -> list[str]:
        """Axes of `other` with values that this space lacks, and axes that only one of the two has."""
        common = [name for name in other.axes if name in self.axes]
        wider = [name for name in common if not _within(other.axes[name], self.axes[name])]
        return [*wider, *sorted(set(other.axes) ^ set(self.axes))]

    def unlike(self, other: Space) -> list[str]:
        """What a model of one of the two spaces would misread of the other: axes that only one has, and choices whose options,
        or their order, which is that of their weights, differ."""
        choices = [name for name, axis in self.axes.items() if name in other.axes and Choice in (type(axis), type(other.axes[name]))]
        return sorted({name for name in choices if self.axes[name] != other.axes[name]} | (set(other.axes) ^ set(self.axes)))

    def check(self, config: Config) -> None:
        """Raise `SpaceError` unless `config` has a value on every axis, admissible, and nothing else."""
        differing = sorted(set(config) ^ set(self.axes))
        if differing:
            raise SpaceError("config", differing, f"must have exactly the axes {sorted(self.axes)}", "add or drop these")
        for name, axis in self.axes.items():
            if not axis.admits(config[name]):
                raise SpaceError(name, config[name], f"must lie in {axis}", "choose an admissible value")

    def relax(self, config: Config) -> Hyper:
        """The hyperparameter tensors of `config`: [k] for k numeric axes of a group, [k, options] for choices."""
        self.check(config)
        rows = {group: [self.axes[name].relax(config[name]) for name in names] for group, names in self._groups().items()}
        return {group: torch.tensor(row).squeeze(-1) for group, row in rows.items()}

    def relax_all(self, configs: Sequence[Config]) -> Hyper:
        """The hyperparameter tensors of several configurations, batched."""
        return stack([self.relax(config) for config in configs])

    def round(self, hyper: Hyper) -> dict[str, float | int | str]:
        """The configuration nearest to the point `hyper`; `round(relax(c)) == c` up to float precision."""
        out: dict[str, float | int | str] = {}
        for group, names in self._groups().items():
            rows = hyper[group].detach().reshape(len(names), -1)
            out |= {name: self.axes[name].round(row) for name, row in zip(names, rows, strict=True)}
        return {name: out[name] for name in self.axes}

    def project(self, hyper: Hyper) -> Hyper:
        """The point of the relaxed space nearest to `hyper` (batched or not): boxes are clamped, choices made weights."""
        out: Hyper = {}
        for group, names in self._groups().items():
            axes = [self.axes[name] for name in names]
            value = hyper[group]
            if isinstance(axes[0], Choice):
                out[group] = simplex(value)
            else:
                low, high = (torch.tensor([float(getattr(axis, end)) for axis in axes], dtype=torch.float64) for end in ("low", "high"))
                out[group] = torch.minimum(torch.maximum(value, low.to(value)), high.to(value))
        return out

    def interior(self, generator: torch.Generator) -> Hyper:
        """A random point of the relaxed space: boxes uniformly, choices as flat Dirichlet weights."""
        point = self.relax(self.sample(generator))
        for group, names in self._groups().items():
            if isinstance(self.axes[names[0]], Choice):
                draws = torch.rand(point[group].shape, generator=generator).clamp_min(1e-12).log().neg()
                point[group] = draws / draws.sum(-1, keepdim=True)
        return point


def _members(axis: Axis) -> float:
    """How many values an axis has."""
    if isinstance(axis, Real):
        return math.inf
    return len(axis.options) if isinstance(axis, Choice) else axis.high - axis.low + 1


def _within(axis: Axis, other: Axis) -> bool:
    """Whether `other` admits every value of `axis`; a choice must have the same options in the same order, which is that
    of its weights."""
    if isinstance(axis, Choice) or isinstance(other, Choice):
        return axis == other
    if isinstance(other, Int) and not isinstance(axis, Int):
        return False
    return other.admits(axis.low) and other.admits(axis.high)


def _ordered(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SpaceError("low, high", (low, high), "must be finite", "choose the range in which to search")
    if not low < high:
        raise SpaceError("low, high", (low, high), "low must be less than high", "swap them")
