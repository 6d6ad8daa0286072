"""The figures of a report: pure functions from tensors to a `matplotlib` Figure; nothing is shown, nothing is written.

All are `WIDTH` inches wide, so that their letters are of one size on a page, and draw on white.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hcdc.data import GraphData, Sparse
from hcdc.errors import MissingExtraError
from hcdc.evaluate.ranking import better_half
from hcdc.evaluate.scores import DIVERGED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

WIDTH = 4.8
"""Inches."""

BLUE, ORANGE, GREY, DARK = "#0072B2", "#D55E00", "#999999", "#333333"
CLASSES = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000")
"""Colours that the colour-blind can tell apart (Okabe and Ito 2008); more classes than these take viridis."""

METRICS = {
    "alignment_loss": "1 − cosine of\nhypergradients",
    "values_loss": "1 − correlation\nof validation losses",
    "accuracy_loss": "1 − correlation\nwith accuracy",
    "distance": "distance to what\nthe method matches",
}
"""What the metrics of the condensers that ship are; another's are shown under their own names."""


class Row(NamedTuple):
    """One strip: its name, the losses [n] that order it, and its correlation with the truth."""

    name: str
    loss: Tensor
    spearman: float | None


class Bill(NamedTuple):
    """Seconds to condense, to search `configs` configurations on S and on the full data; break-even, None for never."""

    condense: float
    small: float
    full: float
    configs: int
    break_even: int | None


def scatter(small: Tensor, full: Tensor, picked: int) -> Figure:
    """Mean loss on the full data against mean loss on S, a point a configuration, bars of one standard deviation.

    `small` and `full` are [seeds, n]. The better half by `full` is filled, configuration `picked` has a star, and one
    whose training diverged is only counted. An axis that spans more than a factor of ten is logarithmic.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = _figure(3.9)
    axes: Axes = figure.subplots()
    x, y = small.mean(0), full.mean(0)
    drawn = (x < DIVERGED) & (y < DIVERGED)
    better = torch.zeros_like(drawn)
    better[better_half(y)] = True
    for name, some, colour in (("better half", drawn & better, BLUE), ("other half", drawn & ~better, GREY)):
        if bool(some.any()):
            bars: dict[str, Any] = {"xerr": _spread(small[:, some]), "yerr": _spread(full[:, some])}
            axes.errorbar(_list(x[some]), _list(y[some]), **bars, fmt="o", ms=5, color=colour, elinewidth=0.8, alpha=0.85, label=name)
    if bool(drawn[picked]):
        star: dict[str, Any] = {"marker": "*", "s": 190, "color": ORANGE, "edgecolors": "white", "zorder": 4}
        axes.scatter([float(x[picked])], [float(y[picked])], **star, label="picked on this set")
    for axis, values in ((axes.xaxis, x[drawn]), (axes.yaxis, y[drawn])):
        if values.numel() and 0 < float(values.min()) < float(values.max()) / 10:
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    lost = int((~drawn).sum())
    axes.set_xlabel("mean loss on this set" + (f"\n({lost} of {drawn.numel()} diverged, not drawn)" if lost else ""))
    axes.set_ylabel("mean loss on the full data")
    if bool(drawn.any()):
        figure.legend(loc="outside upper center", ncols=3, frameon=False, columnspacing=0.8, handletextpad=0.2)
    return _tidy(figure)


def strips(truth: Tensor, rows: Sequence[Row]) -> Figure:
    """Figure 2 of the paper: in each row every configuration is a slice, ordered by the row's own loss, best at the left.

    Its colour is its place by `truth` [n], lighter is better; the row's correlation stands at the right.
    """
    figure = _figure(0.55 + 0.62 * len(rows))
    place = truth.argsort(stable=True).argsort(stable=True)
    grid: Any = figure.subplots(len(rows), 1, squeeze=False)
    for row, axes in zip(rows, grid[:, 0], strict=True):
        colours = place[row.loss.argsort(stable=True)].unsqueeze(0).cpu().numpy()
        axes.imshow(colours, cmap="viridis_r", aspect="auto", interpolation="nearest", vmin=0, vmax=max(1, len(place) - 1))
        axes.set_title(row.name, loc="left", fontsize=10, pad=3)
        axes.text(1.02, 0.5, "–" if row.spearman is None else f"{row.spearman:.2f}", transform=axes.transAxes, va="center")
        axes.set(xticks=[], yticks=[])
    grid[0, 0].set_title("Spearman", loc="right", fontsize=9, pad=3, color=DARK)
    grid[-1, 0].set_xlabel("← best   ordered by the row's own ranking   worst →", fontsize=9)
    return figure


def bill(cost: Bill) -> Figure:
    """Above, the time that a search took either way; below, its growth with the number of configurations."""
    figure = _figure(4.4)
    top, bottom = figure.subplots(2, 1, height_ratios=[1, 2.6])
    far = cost.configs if cost.break_even is None else max(cost.configs, round(1.15 * cost.break_even))
    shown = min(far, 50 * cost.configs)
    paths = [(0.0, cost.full / cost.configs * shown), (cost.condense, cost.condense + cost.small / cost.configs * shown)]
    span, unit = time_unit(max(end for _, end in paths))
    _bars(top, cost, *time_unit(max(cost.full, cost.condense + cost.small)))
    for (first, last), name, colour in zip(paths, ("full data", "condense, then this set"), (GREY, BLUE), strict=True):
        bottom.plot([0, shown], [first / span, last / span], color=colour, lw=2, label=name)
    if cost.condense and cost.break_even is not None and cost.break_even <= shown:
        where = (cost.break_even, cost.full / cost.configs * cost.break_even / span)
        bottom.plot(*where, marker="o", ms=9, mfc="white", mec=ORANGE, mew=2, ls="none", label=f"even from {cost.break_even} on")
    bottom.set(xlabel="configurations tried", ylabel=f"time in all ({unit})", xlim=(0, shown), ylim=(0, None))
    places: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.98), "ncols": 3, "columnspacing": 0.8, "handletextpad": 0.4}
    bottom.legend(**places, frameon=False, fontsize=8, borderaxespad=0.2)
    return _tidy(figure)


def _bars(axes: Axes, cost: Bill, span: float, unit: str) -> None:
    names, first = ["this set", "full data"], [cost.condense / span, 0.0]
    if cost.condense:
        axes.barh(names, first, color=ORANGE, height=0.6, label="condensing")
    axes.barh(names, [cost.small / span, cost.full / span], left=first, color=[BLUE, GREY], height=0.6, label="search")
    axes.invert_yaxis()
    axes.set_xlabel(f"time for {cost.configs} configurations ({unit})")
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 0.98), fontsize=9, borderaxespad=0.2)


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which `seconds` is a number of few digits, as (its length in seconds, its name)."""
    if seconds < 300:
        return 1.0, "s"
    return (60.0, "min") if seconds < 3 * 3600 else (3600.0, "h")


def tracked(history: Sequence[Mapping[str, float]], least: float = 0.1) -> dict[str, tuple[list[float], list[float]]]:
    """(steps, values) of the metrics of `history`; those recorded seldom, less than `least` of the most often, are left out."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for number, record in enumerate(history):
        for name, value in record.items():
            if name != "step" and math.isfinite(value):
                steps, values = found.setdefault(name, ([], []))
                steps.append(float(record.get("step", number)))
                values.append(float(value))
    most = max((len(steps) for steps, _ in found.values()), default=0)
    return {name: curve for name, curve in found.items() if len(curve[0]) >= max(2, least * most)}


def curves(history: Sequence[Mapping[str, float]], window: int = 9) -> Figure | None:
    """The metrics of condensation by step, a panel each, thin as recorded and thick their running mean over `window`."""
    found = tracked(history)
    if not found:
        return None
    figure = _figure(0.5 + 1.5 * len(found))
    panels: Any = figure.subplots(len(found), 1, squeeze=False, sharex=True)
    for (name, (steps, values)), axes in zip(found.items(), panels[:, 0], strict=True):
        smooth = len(values) > 4 * window
        axes.plot(steps, values, color=BLUE, lw=0.8 if smooth else 1.8, alpha=0.4 if smooth else 1)
        if smooth:
            mean = np.convolve(values, np.ones(window) / window, "valid")
            axes.plot(steps[window // 2 : window // 2 + len(mean)], mean, color=BLUE, lw=2)
        axes.set_ylabel(METRICS.get(name, name), fontsize=9, parse_math=False)
        axes.margins(x=0.01)
    panels[-1, 0].set_xlabel("step of condensation")
    return _tidy(figure)


def cosines(loss: Tensor, before: Tensor | None, after: Tensor) -> Figure:
    """Cosines [n] of hypergradients at n points of the space, in the order of their real `loss` [n], best at the left.

    Where there is a `before`, a line joins the two of a point: blue where it rose, orange where it fell.
    """
    figure = _figure(3.2)
    axes: Axes = figure.subplots()
    order = loss.argsort(stable=True)
    at, last = list(range(1, len(order) + 1)), _list(after[order])
    if before is not None:
        first = _list(before[order])
        axes.vlines(at, first, last, colors=[BLUE if low <= high else ORANGE for low, high in zip(first, last, strict=True)], lw=1.2, alpha=0.5)
        axes.plot(at, first, ls="none", marker="o", ms=5, mfc="white", mec=GREY, mew=1.2, label=f"before (median {_median(before)})")
    axes.plot(at, last, ls="none", marker="o", ms=5, color=BLUE, label=f"this set (median {_median(after)})")
    axes.axhline(0, color=GREY, lw=0.8, zorder=0)
    axes.set(ylabel="cosine", ylim=(-1.05, 1.05), xticks=[])
    axes.set_xlabel("← best   by loss on the full data   worst →", fontsize=9)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, columnspacing=0.8, handletextpad=0.2)
    return _tidy(figure)


def _median(values: Tensor) -> str:
    return f"{float(values.double().quantile(0.5)):.2f}".replace("-", "\N{MINUS SIGN}")


def image_grid(x: Tensor, y: Tensor, columns: int = 10, limit: int = 100) -> Figure:
    """Images [n, channels, h, w] sorted by class, the label under each; of more than `limit`, that many evenly spaced.

    Grey and colour images are stretched to the range between the 1st and the 99th percentile of each channel.
    """
    order = y.argsort(stable=True)
    order = order[torch.linspace(0, len(order) - 1, min(limit, len(order))).round().long()]
    images, labels = _stretched(x)[order].cpu().numpy(), [f"{label:.2g}" if y.is_floating_point() else str(label) for label in y[order].tolist()]
    columns, ratio = min(columns, len(labels)), x.shape[2] / x.shape[3]
    rows, pitch = -(-len(labels) // columns), ratio + 0.42
    side = (WIDTH - 0.2) / max(columns, 5)
    figure = _figure(0.1 + side * pitch * rows)
    axes: Axes = figure.subplots()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = number % columns, number // columns * pitch
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(left + 0.04, left + 0.96, top + 0.92 * ratio, top), interpolation="nearest")
        axes.text(left + 0.5, top + 0.92 * ratio + 0.05, str(label), ha="center", va="top", fontsize=8, color=DARK)
    axes.set(xlim=(0, max(columns, 5)), ylim=(rows * pitch, 0), aspect="equal")
    axes.axis("off")
    return figure


def _stretched(x: Tensor) -> Tensor:
    """[n, c, h, w] -> [n, h, w] grey or [n, h, w, 3], in [0, 1]; neither one nor three channels become their mean."""
    x = x.detach().float()
    x = x if x.shape[1] in (1, 3) else x.mean(1, keepdim=True)
    flat = x.transpose(0, 1).flatten(1)
    low, high = (torch.from_numpy(np.percentile(flat.cpu().numpy(), q, axis=1)).to(x).view(1, -1, 1, 1) for q in (1, 99))
    scaled = ((x - low) / (high - low).clamp_min(1e-6)).clamp(0, 1).movedim(1, -1)
    return scaled.squeeze(-1) if x.shape[1] == 1 else scaled


class Drawing(NamedTuple):
    """What is drawn of a graph: `nodes` [m] of it, sorted by class, and their `weights` [m, m], those not drawn zero."""

    nodes: Tensor
    weights: Tensor
    edges: int


def strongest(data: GraphData, least: float = 0.05, degree: int = 4, limit: int = 300) -> Drawing:
    """The edges of at least `least` of the strongest weight, `degree` a node on average at most, of up to `limit` nodes.

    Of a larger graph the nodes with the most weight are kept. Which of equally strong edges is left to a fixed shuffle,
    since the first ones would all be those of the first nodes. `edges` counts all edges of the nodes kept.
    """
    weights = _dense(data.adjacency)
    keep = weights.sum(1).argsort(descending=True, stable=True)[:limit].sort().values
    nodes = keep[data.y[keep].argsort(stable=True)]
    weights = weights[nodes][:, nodes]
    upper = weights.triu(1)
    flat = upper.flatten()
    shuffled = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))
    best = shuffled[flat[shuffled].argsort(descending=True, stable=True)][: degree * len(nodes)]
    drawn = torch.zeros_like(flat).index_fill(0, best, 1.0).reshape_as(upper) * (upper >= least * upper.max()) * upper
    return Drawing(nodes, drawn + drawn.T, int((upper > 0).sum()))


def graph_drawing(data: GraphData) -> Figure:
    """Nodes coloured by class, the strongest edges as wide as their weight; nodes without a drawn edge stand below."""
    nodes, weights, _ = strongest(data)
    at, labels = layout(weights), data.y[nodes]
    bottom, top = float(at[:, 1].min()) - 0.12, float(at[:, 1].max()) + 0.12
    figure = _figure(min(6.0, WIDTH * (top - bottom) / 2.24 + 0.5))
    axes: Axes = figure.subplots()
    _edges(axes, at, weights)
    _nodes(axes, at, labels, class_colours(data.num_classes))
    if len(set(_integers(labels))) <= 10:
        places: dict[str, Any] = {"loc": "outside lower center", "ncols": 10, "handletextpad": 0, "columnspacing": 0.6}
        figure.legend(**places, frameon=False, fontsize=8, title="class", title_fontsize=8)
    axes.set(aspect="equal", xlim=(-1.12, 1.12), ylim=(bottom, top))
    axes.axis("off")
    return figure


def _edges(axes: Axes, at: Tensor, weights: Tensor) -> None:
    from matplotlib.collections import LineCollection

    ends = (weights.triu(1) > 0).nonzero()
    if len(ends):
        strength = weights[ends[:, 0], ends[:, 1]] / weights.max()
        lines: Any = at[ends].cpu().numpy()
        axes.add_collection(LineCollection(lines, linewidths=_list(0.3 + 2.7 * strength), colors="#777777", alpha=0.55))


def _nodes(axes: Axes, at: Tensor, labels: Tensor, colours: Sequence[str]) -> None:
    """Dots, numbered where there is room; a hidden label is white."""
    size = float(np.clip(7000 / len(labels), 14, 130))
    for label in sorted(set(_integers(labels))):
        some = at[labels == label]
        colour: str = colours[label] if label >= 0 else "#FFFFFF"
        dots: dict[str, Any] = {"s": size, "color": [colour], "edgecolors": DARK, "linewidths": 0.6, "zorder": 2}
        axes.scatter(_list(some[:, 0]), _list(some[:, 1]), **dots, label=str(label) if label >= 0 else "hidden")
        for x, y in some if size > 60 and label >= 0 else ():
            axes.text(float(x), float(y), str(label), ha="center", va="center_baseline", fontsize=6.5, color=_ink(colour), zorder=3)


def layout(weights: Tensor) -> Tensor:
    """Positions [n, 2] for weights [n, n]: what has edges by `spring`, what has none in rows below, in its own order."""
    linked = (weights > 0).any(1)
    at = torch.zeros(len(weights), 2)
    if bool(linked.any()):
        at[linked] = spring(weights[linked][:, linked])
    alone = (~linked).nonzero().squeeze(1)
    columns = min(len(alone), max(12, math.ceil(math.sqrt(2 * len(alone)))))
    if columns:
        step = 2.0 / max(11, columns - 1)
        across, down = torch.arange(len(alone)) % columns, torch.arange(len(alone)) // columns
        floor = float(at[linked, 1].min()) - 0.25 if bool(linked.any()) else 0.0
        at[alone] = torch.stack([(across - (columns - 1) / 2) * step, floor - down * step], 1)
    return at


def spring(weights: Tensor, rounds: int = 300) -> Tensor:
    """Positions [n, 2] in [-1, 1]: Fruchterman and Reingold (1991) from a sunflower, with a pull towards the centre.

    In numpy, since arrays this small are not worth the threads of torch. A few nodes take less than the whole square.
    """
    n, unit = len(weights), len(weights) ** -0.5
    strength = (weights / weights.max()).double().cpu().numpy()
    order = np.arange(n)
    at = np.sqrt((order + 0.5) / n)[:, None] * np.stack([np.cos(2.399963 * order), np.sin(2.399963 * order)], 1)
    for heat in np.linspace(0.1, 0.002, rounds):
        squares = np.square(at[:, None] - at[None]).sum(-1).clip(1e-6)
        force = unit**2 / squares - strength * np.sqrt(squares) / unit
        move = force.sum(1, keepdims=True) * at - force @ at - 1.5 * unit * at * _length(at)
        at = at + move * np.minimum(heat / _length(move).clip(1e-9), 1)
    at = at - (at.max(0) + at.min(0)) / 2
    return torch.from_numpy(at * min(1.0, 0.25 / unit) / max(1e-6, float(np.abs(at).max()))).to(weights)


def _length(vectors: Floats) -> Floats:
    return np.sqrt(np.square(vectors).sum(-1, keepdims=True))


def adjacency(data: GraphData) -> Figure:
    """The weights between all pairs of nodes, sorted by class, with lines between up to twelve classes."""
    figure = _figure(4.0)
    axes: Axes = figure.subplots()
    order = data.y.argsort(stable=True)
    weights = _dense(data.adjacency)[order][:, order]
    most = float(weights.max()) or 1.0
    seen = axes.imshow(weights.cpu().numpy(), cmap="viridis", vmin=0, vmax=most, interpolation="nearest" if len(order) < 600 else "auto")
    names = sorted(set(_integers(data.y)))
    counts = torch.tensor([int((data.y == label).sum()) for label in names])
    ends = counts.cumsum(0)
    for end in _integers(ends[:-1]) if len(names) <= 12 else ():
        axes.axvline(end - 0.5, color="white", lw=0.5)
        axes.axhline(end - 0.5, color="white", lw=0.5)
    middles = _list(ends - counts / 2 - 0.5)
    step = -(-len(names) // 12)
    shown = ["hidden" if label < 0 else str(label) for label in names[::step]]
    axes.set_xticks(middles[::step], shown)
    axes.set_yticks(middles[::step], shown)
    axes.tick_params(length=0)
    axes.set(xlabel="nodes, by class", ylabel="nodes, by class")
    figure.colorbar(seen, ax=axes, label="edge weight", shrink=0.85)
    return figure


def class_colours(count: int) -> list[str]:
    """One colour a class."""
    if count <= len(CLASSES):
        return list(CLASSES[:count])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](at / (count - 1))) for at in range(count)]


def _ink(colour: str) -> str:
    """Black or white, whichever reads better on `colour`."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 125 else "white"


def _dense(adjacency: Tensor | Sparse) -> Tensor:
    return (adjacency.dense() if isinstance(adjacency, Sparse) else adjacency).detach().float().cpu()


def _spread(scores: Tensor) -> list[float] | None:
    """Standard deviation over seeds of [seeds, n]; None for one seed."""
    return _list(scores.std(0)) if scores.shape[0] > 1 else None


def _list(values: Tensor) -> list[float]:
    return [float(value) for value in values]


def _integers(values: Tensor) -> list[int]:
    return [int(value) for value in values]


def _figure(height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")


def _tidy(figure: Figure) -> Figure:
    """Without the frame's upper and right lines, with smaller numbers at the ticks."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    return figure
