"""The figures, looked at: pixels where something must be seen, artists where numbers must be right."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hcdc.data import GraphData, Sparse
from hcdc.errors import MissingExtraError
from hcdc.evaluate import plots

pytest.importorskip("matplotlib")

from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

WHITE = (1.0, 1.0, 1.0)


def pixels(figure: Figure) -> np.ndarray:
    """RGB in [0, 1], row 0 at the top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def at(figure: Figure, image: np.ndarray, axes: Any, x: float, y: float) -> np.ndarray:
    """The colour at data coordinates (x, y) of `axes`."""
    column, row = axes.transData.transform((x, y))
    return image[round(image.shape[0] - row), round(column)]


def shows(image: np.ndarray, colour: str | tuple[float, ...], within: float = 0.02) -> int:
    """Number of pixels of `colour`."""
    return int((np.abs(image - to_rgb(colour)).max(-1) < within).sum())


def graph(weights: Tensor, classes: int = 3) -> GraphData:
    n = len(weights)
    labels = torch.arange(n).flip(0) % classes
    return GraphData(torch.zeros(n, 2), weights, labels, torch.ones(n, dtype=torch.bool), classes)


def chain(n: int) -> Tensor:
    """A path: node i joined to node i + 1."""
    return torch.diag(torch.linspace(0.2, 1.0, n - 1), 1) + torch.diag(torch.linspace(0.2, 1.0, n - 1), -1)


class TestScatter:
    small = torch.tensor([[0.5, 0.9, 1.3, 1.7], [0.7, 1.1, 1.5, 1.9]])
    full = torch.tensor([[0.4, 0.8, 1.2, 1.6], [0.4, 0.8, 1.2, 1.6]])

    def test_halves_and_the_picked_one_are_coloured(self) -> None:
        figure = plots.scatter(self.small, self.full, picked=2)
        image, axes = pixels(figure), figure.axes[0]
        x, y = self.small.mean(0), self.full.mean(0)
        seen = [at(figure, image, axes, float(x[i]), float(y[i])) for i in range(4)]
        assert seen[0][2] > 0.6 > seen[0][0], "the better half is blue"
        assert seen[1][2] > 0.6 > seen[1][0]
        np.testing.assert_allclose(seen[2], to_rgb(plots.ORANGE), atol=0.02)
        assert np.ptp(seen[3]) < 0.02, "the other half is grey"
        assert seen[3].mean() < 0.8

    @pytest.mark.parametrize("picked", range(4))
    def test_star_moves_with_the_picked_configuration(self, picked: int) -> None:
        figure = plots.scatter(self.small, self.full, picked)
        image, axes = pixels(figure), figure.axes[0]
        rows, columns = np.nonzero(np.abs(image - to_rgb(plots.ORANGE)).max(-1) < 0.02)
        inside = rows > image.shape[0] - axes.bbox.y1
        wanted = axes.transData.transform((float(self.small.mean(0)[picked]), float(self.full.mean(0)[picked])))
        found = columns[inside].mean(), image.shape[0] - rows[inside].mean()
        assert found == pytest.approx(tuple(wanted), abs=2)

    def test_range_chooses_the_axes(self) -> None:
        wide = self.small * torch.tensor([1.0, 10.0, 100.0, 1000.0])
        assert [a.get_xscale() for a in plots.scatter(wide, self.full, 0).axes] == ["log"]
        assert [a.get_yscale() for a in plots.scatter(wide, self.full, 0).axes] == ["linear"]
        assert plots.scatter(wide - 1.0, self.full, 0).axes[0].get_xscale() == "linear", "values below zero have no logarithm"

    def test_diverged_trainings_are_counted_and_not_drawn(self) -> None:
        small = self.small.clone()
        small[1, 0] = 1e30
        figure = plots.scatter(small, self.full, picked=0)
        pixels(figure)
        assert "1 of 4 diverged" in figure.axes[0].get_xlabel()
        assert figure.axes[0].get_xlim()[1] < 10
        assert not any("picked" in str(c.get_label()) for c in figure.axes[0].collections)

    def test_all_diverged_is_an_empty_figure(self) -> None:
        figure = plots.scatter(torch.full((2, 4), 1e30), self.full, picked=0)
        pixels(figure)
        assert "4 of 4 diverged" in figure.axes[0].get_xlabel()

    @pytest.mark.parametrize(("seeds", "bars"), [(1, 0), (2, 4)])
    def test_bars_need_two_seeds(self, seeds: int, bars: int) -> None:
        axes = plots.scatter(self.small[:seeds], self.full[:seeds], 0).axes[0]
        assert len([c for c in axes.collections if type(c).__name__ == "LineCollection"]) == bars


class TestStrips:
    truth = torch.tensor([0.3, 0.1, 0.8, 0.6, 0.2, 0.9, 0.4, 0.7])

    @pytest.mark.parametrize("seed", range(3))
    def test_slices_follow_the_row_and_colours_the_truth(self, seed: int) -> None:
        loss = torch.rand(8, generator=torch.Generator().manual_seed(seed))
        figure = plots.strips(self.truth, [plots.Row("optimal", self.truth, 1.0), plots.Row("this set", loss, 0.5)])
        image = pixels(figure)
        place = self.truth.argsort().argsort()
        for axes, own in zip(figure.axes, (self.truth, loss), strict=True):
            found = np.array([at(figure, image, axes, slot, 0) for slot in range(8)])
            wanted = [colormaps["viridis_r"](int(place[i]) / 7)[:3] for i in own.argsort().tolist()]
            np.testing.assert_allclose(found, wanted, atol=0.01)

    def test_best_is_light_and_at_the_left(self) -> None:
        figure = plots.strips(self.truth, [plots.Row("optimal", self.truth, 1.0)])
        image, axes = pixels(figure), figure.axes[0]
        brightness = [at(figure, image, axes, slot, 0).mean() for slot in range(8)]
        assert brightness[0] > brightness[-1] + 0.2

    @pytest.mark.parametrize(("value", "words"), [(None, "–"), (0.876, "0.88"), (-0.5, "-0.50")])
    def test_correlation_stands_at_the_right(self, value: float | None, words: str) -> None:
        figure = plots.strips(self.truth, [plots.Row("this set", self.truth, value)])
        assert [text.get_text() for text in figure.axes[0].texts] == [words]


class TestBill:
    def test_lines_cross_at_the_mark(self) -> None:
        cost = plots.Bill(condense=90.0, small=40.0, full=400.0, configs=40, break_even=10)
        figure = plots.bill(cost)
        full, small, mark = figure.axes[1].get_lines()
        (x,), (y,) = np.asarray(mark.get_xdata()), np.asarray(mark.get_ydata())
        assert x == 10
        for line in (full, small):
            assert np.interp(x, line.get_xdata(), line.get_ydata()) == pytest.approx(y)
        assert shows(pixels(figure), plots.ORANGE) > 20

    def test_a_set_that_cost_nothing_has_no_bar_and_no_mark_for_it(self) -> None:
        figure = plots.bill(plots.Bill(0.0, 40.0, 400.0, 40, 1))
        assert len(figure.axes[1].get_lines()) == 2
        legend = figure.axes[0].get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["search"]

    @pytest.mark.parametrize("even", [None, 10**7])
    def test_no_mark_where_there_is_nothing_to_see(self, even: int | None) -> None:
        figure = plots.bill(plots.Bill(90.0, 40.0, 40.0, 40, even))
        assert len(figure.axes[1].get_lines()) == 2
        assert figure.axes[1].get_xlim()[1] <= 2000

    def test_mark_beyond_the_configurations_tried_is_still_shown(self) -> None:
        figure = plots.bill(plots.Bill(1000.0, 40.0, 400.0, 40, 112))
        assert figure.axes[1].get_xlim()[1] > 112

    def test_nothing_spent(self) -> None:
        pixels(plots.bill(plots.Bill(0.0, 0.0, 0.0, 4, 0)))

    @pytest.mark.parametrize(("seconds", "unit"), [(0.0, "s"), (299.0, "s"), (300.0, "min"), (10_800.0, "h")])
    def test_units(self, seconds: float, unit: str) -> None:
        assert plots.time_unit(seconds)[1] == unit


class TestCurves:
    def test_nothing_recorded_is_no_figure(self) -> None:
        assert plots.curves([]) is None
        assert plots.curves([{"step": 0.0, "alignment_loss": 0.4}]) is None

    def test_a_panel_a_metric_and_rare_ones_left_out(self) -> None:
        history: list[dict[str, float]] = [{"step": 0.0, "points": 128.0}]
        history += [{"step": float(n), "alignment_loss": 1 / n, "values_loss": 0.5} for n in range(1, 60)]
        figure = plots.curves(history)
        assert figure is not None
        assert [axes.get_ylabel() for axes in figure.axes] == [plots.METRICS["alignment_loss"], plots.METRICS["values_loss"]]
        thin, thick = figure.axes[0].get_lines()
        assert len(np.asarray(thin.get_xdata())) == 59
        assert np.asarray(thick.get_ydata())[0] == pytest.approx(np.mean([1 / n for n in range(1, 10)]))

    def test_values_that_are_not_finite_are_dropped(self) -> None:
        found = plots.tracked([{"step": float(n), "distance": float("nan") if n == 1 else n} for n in range(4)])
        assert found == {"distance": ([0.0, 2.0, 3.0], [0.0, 2.0, 3.0])}

    def test_names_are_no_formulas(self) -> None:
        figure = plots.curves([{"step": 0.0, "a $\\frac{1$": 1.0}, {"step": 1.0, "a $\\frac{1$": 2.0}])
        assert figure is not None
        pixels(figure)


class TestImages:
    def test_tiles_are_sorted_by_class_with_their_labels(self) -> None:
        y = torch.tensor([2, 0, 1])
        x = torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1, 1).expand(3, 1, 8, 8)
        figure = plots.image_grid(x, y)
        image, axes = pixels(figure), figure.axes[0]
        grey = [at(figure, image, axes, column + 0.5, 0.4)[0] for column in range(3)]
        assert grey == sorted(grey)
        assert (grey[0], grey[2]) == pytest.approx((0, 1), abs=0.05)
        assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]

    def test_colours(self) -> None:
        x = torch.zeros(3, 3, 4, 4)
        for channel in range(3):
            x[channel, channel] = 1
        figure = plots.image_grid(x, torch.arange(3))
        image, axes = pixels(figure), figure.axes[0]
        seen = np.array([at(figure, image, axes, column + 0.5, 0.4) for column in range(3)])
        np.testing.assert_allclose(seen, np.eye(3), atol=0.02)

    @pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 9), (3, 32, 16), (4, 1, 1)])
    def test_any_shape(self, shape: tuple[int, int, int]) -> None:
        image = pixels(plots.image_grid(torch.randn(7, *shape, generator=torch.Generator().manual_seed(0)), torch.arange(7)))
        assert shows(image, WHITE) < image.shape[0] * image.shape[1]

    def test_of_many_every_class_is_shown(self) -> None:
        y = torch.arange(400) % 10
        axes = plots.image_grid(torch.randn(400, 1, 2, 2), y, limit=20).axes[0]
        assert len(axes.images) == 20
        assert {text.get_text() for text in axes.texts} == {str(label) for label in range(10)}

    def test_targets_of_a_regression_are_told_as_numbers(self) -> None:
        axes = plots.image_grid(torch.randn(3, 1, 2, 2), torch.tensor([1.62, -0.64, 0.27])).axes[0]
        assert [text.get_text() for text in axes.texts] == ["-0.64", "0.27", "1.6"]

    def test_constant_images(self) -> None:
        pixels(plots.image_grid(torch.zeros(2, 1, 4, 4), torch.arange(2)))


class TestGraph:
    def test_nodes_have_the_colour_of_their_class(self) -> None:
        data = graph(chain(9))
        figure = plots.graph_drawing(data)
        image = pixels(figure)
        for label in range(3):
            assert shows(image, plots.CLASSES[label]) > 60

    def test_stronger_edges_are_wider(self) -> None:
        (lines,) = [c for c in plots.graph_drawing(graph(chain(6), 1)).axes[0].collections if type(c).__name__ == "LineCollection"]
        widths = np.asarray(lines.get_linewidths())
        assert len(widths) == 5
        assert widths.max() > 2 * widths.min()

    @pytest.mark.parametrize("weights", [torch.zeros(35, 35), torch.zeros(3, 3), torch.ones(60, 60) - torch.eye(60), chain(2)])
    def test_extremes(self, weights: Tensor) -> None:
        image = pixels(plots.graph_drawing(graph(weights)))
        assert shows(image, plots.CLASSES[0]) > 10
        pixels(plots.adjacency(graph(weights)))

    def test_edges_of_equal_weight_are_drawn_fairly(self) -> None:
        found = plots.strongest(graph(torch.ones(60, 60) - torch.eye(60)))
        degree = (found.weights > 0).sum(1)
        assert found.edges == 60 * 59 // 2
        assert int(degree.sum()) == 2 * 4 * 60
        assert int(degree.max()) < 30

    def test_drawn_weights_are_those_of_the_graph(self) -> None:
        weights = torch.rand(12, 12, generator=torch.Generator().manual_seed(0)).triu(1)
        data = graph(weights + weights.T)
        found = plots.strongest(data, least=0.3)
        own = data.adjacency[found.nodes][:, found.nodes] if isinstance(data.adjacency, Tensor) else torch.zeros(())
        drawn = found.weights > 0
        assert torch.equal(found.weights, found.weights.T)
        assert torch.equal(found.weights[drawn], own[drawn])
        assert float(found.weights[drawn].min()) >= 0.3 * float(weights.max())
        assert data.y[found.nodes].tolist() == sorted(data.y.tolist())

    def test_large_graphs_are_cut_to_their_best_joined_nodes(self) -> None:
        weights = torch.zeros(500, 500)
        weights[100:110, 100:110] = 1 - torch.eye(10)
        found = plots.strongest(graph(weights), limit=50)
        assert len(found.nodes) == 50
        assert set(range(100, 110)) <= set(found.nodes.tolist())

    def test_layout_keeps_nodes_apart_and_the_unjoined_below(self) -> None:
        weights = torch.zeros(20, 20)
        weights[:12, :12] = chain(12)
        positions = plots.layout(weights)
        assert bool(torch.isfinite(positions).all())
        assert torch.equal(positions, plots.layout(weights))
        assert float(positions[12:, 1].max()) < float(positions[:12, 1].min())
        distance = torch.cdist(positions, positions) + 10 * torch.eye(20)
        assert float(distance.min()) > 0.03
        joined = torch.stack([distance[i, i + 1] for i in range(11)]).mean()
        assert float(joined) < float(distance[:12, :12].mean())

    def test_hidden_labels_and_sparse_weights(self) -> None:
        data = graph(chain(6))
        weights = data.adjacency
        assert isinstance(weights, Tensor)
        data = data.replace(adjacency=Sparse.from_dense(weights), y=torch.tensor([-1, 0, 1, 2, 0, -1]))
        pixels(plots.graph_drawing(data))
        pixels(plots.adjacency(data))

    def test_adjacency_is_sorted_by_class(self) -> None:
        data = graph(chain(7))
        order = data.y.argsort(stable=True)
        weights = data.adjacency
        assert isinstance(weights, Tensor)
        shown = np.asarray(plots.adjacency(data).axes[0].images[0].get_array())
        np.testing.assert_allclose(shown, weights[order][:, order])

    @pytest.mark.parametrize("count", [2, 8, 9, 41])
    def test_every_class_has_its_colour(self, count: int) -> None:
        assert len(set(plots.class_colours(count))) == count


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[report\]'"):
        plots.strips(TestStrips.truth, [plots.Row("optimal", TestStrips.truth, 1.0)])


def test_every_figure_is_of_one_width() -> None:
    figures = [
        plots.scatter(TestScatter.small, TestScatter.full, 0), plots.strips(TestStrips.truth, [plots.Row("a", TestStrips.truth, 1.0)]),
        plots.bill(plots.Bill(1, 1, 2, 4, 2)), plots.image_grid(torch.zeros(2, 1, 4, 4), torch.arange(2)),
        plots.graph_drawing(graph(chain(5))), plots.adjacency(graph(chain(5))),
    ]  # fmt: skip
    assert {figure.get_figwidth() for figure in figures} == {plots.WIDTH}
