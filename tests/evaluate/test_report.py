"""The page as its reader gets it: parsed, looked for what must not be in it, and shown by a browser."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hcdc.data import Column, Examples, GraphData, ImageData, TableData
from hcdc.errors import MissingExtraError
from hcdc.evaluate import Alignment, report
from hcdc.evaluate.evaluation import Evaluation, Judge, compare
from hcdc.evaluate.report import write_report
from hcdc.evaluate.scores import Scores
from hcdc.search import Trial
from hcdc.store import Card, Condensed, DataCard, StorageError

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

EVIL = """<script>alert('x')</script>"&lt;{{ 7*7 }}$\\frac{$"""
VOID = {"meta", "link", "img", "br"}


def card(kind: Any = "graph", **changes: Any) -> Card:
    fields: dict[str, Any] = {
        "method": "hcdc", "settings": {"type": "HCDC", "driver": {"type": "Bank", "starts": 8, "limit": None}, "lr": 0.003},
        "seed": 3, "steps": 40,
        "data": changes.get("data") or DataCard(name="toy", sha256="ab" * 32, kind=kind, num_classes=3),
        "recipes": {"condensed": {"problem": {"family": "polyfilter"}, "solver": {"steps": 200, "batch_size": None}}, "full": {}},
        "space": {f"filter.{k}": {"kind": "real", "low": -1.0, "high": 1.0} for k in range(2)},
        "sizes": {"train": 12, "val": 9}, "history": [{"step": float(n), "alignment_loss": 1 / (n + 1), "values_loss": 0.5} for n in range(40)],
        "seconds": 31.5, "versions": {"python": "3.12.1", "torch": "2.11.0"}, "hardware": "two threads, no GPU",
    }  # fmt: skip
    return Card(**(fields | changes))


def graph(n: int = 9) -> GraphData:
    weights = torch.rand(n, n, generator=torch.Generator().manual_seed(1)).triu(1)
    return GraphData(torch.zeros(n, 4), weights + weights.T, torch.arange(n) % 3, torch.ones(n, dtype=torch.bool), 3)


def images(n: int) -> ImageData:
    return ImageData(torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(n)), torch.arange(n) % 3, 3)


def table(n: int) -> TableData:
    """Ages of mean 40 and deviation 10, a town that is a mixture of two in the first row, and who came."""
    x = torch.tensor([[1.0, 0.75, 0.25]] + [[0.0, 0.0, 1.0]] * (n - 1))
    columns = (Column("age", (), 40.0, 10.0), Column("town", ("Ulm", "Bonn")))
    return TableData(x, torch.arange(n) % 2, 2, columns, Column("came", ("no", "yes")))


def condensed(kind: str = "graph", **changes: Any) -> Condensed:
    parts = {"graph": lambda: (graph(12), graph()), "images": lambda: (images(12), images(9)), "table": lambda: (table(12), table(9))}[kind]()
    if kind == "table":
        changes = {"data": DataCard.of("toy", "ab" * 32, "table", parts[0])} | changes
    return Condensed(*parts, card(kind, **changes))


def evaluation(artefact: Condensed, seeds: int = 3, configs: int = 14) -> Evaluation:
    generator = torch.Generator().manual_seed(0)
    truth = 0.4 + torch.rand(configs, generator=generator)

    def scores(noise: float, parts: tuple[str, ...], seconds: float) -> Scores:
        loss = {part: truth + noise * torch.randn(seeds, configs, generator=generator).abs() for part in parts}
        accuracy = {part: 1 - value / 3 for part, value in loss.items()}
        return Scores(loss, accuracy, dict(loss), seconds)

    small, full = scores(0.1, ("val",), 4.0), scores(0.02, ("val", "test"), 60.0)
    floors = {"floor_random": scores(0.8, ("val",), 4.0), "floor_strong": scores(0.4, ("val",), 4.0)}
    drawn: list[dict[str, float | int | str]] = [{"filter.0": k / 10, "filter.1": -0.5} for k in range(configs)]
    return Evaluation(compare(small, full, floors, artefact, Judge(configs, seeds)), drawn, small, full, floors)


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of styles; fails on tags that do not match."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.styles, self._open = "", "", list[str]()
        self.feed(content)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            self.styles += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(tmp_path: Path, artefact: Condensed, judged: Evaluation, **more: Any) -> Page:
    return Page(write_report(tmp_path / "report.html", artefact, judged, **more).read_text("utf-8"))


@pytest.fixture(scope="module", params=["graph", "images", "table"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it."""
    artefact = condensed(request.param)
    trials = [Trial({"filter.0": 0.1}, 0.4, 1.0), Trial({"filter.0": 0.2}, 0.3, 1.0)]
    path = tmp_path_factory.mktemp(request.param) / "report.html"
    aligned = Alignment(torch.rand(12), torch.linspace(-1, 0.5, 12), torch.linspace(-0.2, 1, 12))
    return write_report(path, artefact, evaluation(artefact), trials, command="hcdc condense toy --size 12", alignment=aligned)


class TestWhole:
    def test_nothing_is_asked_of_the_network(self, written: Path) -> None:
        content = written.read_text("utf-8")
        found = Page(content)
        reach = ("src", "href", "srcset", "action")
        linked = [value for _, attributes in found.elements for name, value in attributes.items() if name in reach]
        assert linked
        assert all(value.startswith("data:") for value in linked)
        assert "@import" not in found.styles
        assert "url(" not in found.styles
        assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", content))
        assert not {"script", "iframe", "object", "form", "svg"} & {tag for tag, _ in found.elements}
        (policy,) = [meta["content"] for meta in found.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")

    def test_pictures_are_whole_and_explained(self, written: Path) -> None:
        """Five of every page, two of what is in the set, which of a table are rows."""
        from matplotlib.image import imread

        found = Page(written.read_text("utf-8"))
        pictures = found.all("img")
        assert len(pictures) == len(found.all("figcaption")) == (5 if "Training rows" in found.text else 7)
        for picture in pictures:
            pixels = imread(io.BytesIO(base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"))))
            assert pixels.shape[1] / pixels.shape[0] == pytest.approx(int(picture["width"]) / int(picture["height"]), rel=0.02)
            assert np.ptp(pixels[..., :3]) > 0.5, "not an empty picture"
            assert picture["alt"].endswith(".")

    def test_sections_in_their_order(self, written: Path) -> None:
        heads = (
            "Does it rank", "Did it pay", "How did the condensing go", "The best configurations", "What the search found",
            "What is in the set", "How to do it again",
        )  # fmt: skip
        text = Page(written.read_text("utf-8")).text
        places = [text.index(head) for head in heads]
        assert places == sorted(places)

    def test_all_that_it_takes_to_do_it_again(self, written: Path) -> None:
        text = Page(written.read_text("utf-8")).text.split("How to do it again")[1]
        for part in ("ab" * 32, "hcdc", "40", "torch 2.11.0", "two threads", "hcdc condense toy --size 12"):
            assert part in text
        assert re.search("train 12 (nodes|images|rows), val 9 (nodes|images|rows)", text)
        for name, value in (("driver.starts", "8"), ("driver.limit", "–"), ("lr", "0.003"), ("condensed.solver.steps", "200")):
            assert f"{name}{value}" in text

    @pytest.mark.parametrize("kind", ["graph", "images"])
    def test_strings_of_the_user_are_text(self, tmp_path: Path, kind: str) -> None:
        changes: dict[str, Any] = {
            "data": DataCard(name=EVIL, sha256="0" * 64, kind=kind, num_classes=3), "method": EVIL, "settings": {EVIL: EVIL},
            "hardware": EVIL, "versions": {EVIL: EVIL}, "history": [{"step": float(n), EVIL: float(n)} for n in range(5)],
        }  # fmt: skip
        artefact = condensed(kind, **changes)
        judged = evaluation(artefact)
        judged = replace(judged, configs=[{EVIL: EVIL} for _ in judged.configs])
        found = page(tmp_path, artefact, judged, command=EVIL, trials=[Trial({EVIL: EVIL}, 0.1, 1.0)], recommended={EVIL: {EVIL: EVIL}})
        assert found.all("script") == []
        assert found.text.count(EVIL) > 12


class TestNumbers:
    def test_verdict_is_on_top(self, tmp_path: Path) -> None:
        artefact = condensed()
        judged = evaluation(artefact)
        wanted = report.verdict(judged.facts)
        found = page(tmp_path, artefact, judged)
        assert any(attributes.get("class") == f"banner {wanted.light}" for attributes in found.all("section"))
        assert found.text.index(wanted.sentence) < found.text.index("Does it rank")
        assert all(line in found.text for line in wanted.lines)

    def test_what_could_not_be_measured_is_a_dash(self, tmp_path: Path) -> None:
        artefact = condensed(history=[])
        judged = evaluation(artefact, seeds=1)
        absent = ("spearman", "kendall", "ceiling", "floor", "own", "break")
        gone = {key: None for key in judged.facts if key.startswith(absent)}
        judged = replace(judged, facts=judged.facts | gone | {"ci95": [None, None]})
        found = page(tmp_path, artefact, judged)
        assert not re.search(r"\b(None|nan|inf)\b", found.text)
        assert report.agreement(judged).rows[0][1:] == ["–"] * 4
        assert report.costs(judged.facts).rows[-1][1] == "never"
        assert "How did the condensing go" not in found.text

    def test_seconds_that_are_missing(self) -> None:
        assert report.duration(None) == "–"
        assert [report.duration(value) for value in (0.0, 2.345, 450.0, 36_000.0)] == ["under 0.1 s", "2.35 s", "7.5 min", "10 h"]

    def test_the_ten_best_by_the_criterion(self) -> None:
        artefact = condensed()
        judged = evaluation(artefact)
        judged.condensed.criterion["val"] = judged.condensed.criterion["val"].flip(1)
        judged = replace(judged, facts=judged.facts | {"picked_config": int(judged.condensed.criterion["val"].mean(0).argmin())})
        table = report.top(judged)
        order = judged.condensed.criterion["val"].mean(0).argsort().tolist()
        assert len(table.rows) == 10
        assert table.marked == 0
        for row, at in zip(table.rows, order, strict=False):
            assert row[1] == report.configuration(judged.configs[at])
            assert float(row[3]) == pytest.approx(float(judged.full.loss["val"].mean(0)[at]), rel=1e-3)
            assert row[4] == f"{1 + int((judged.full.loss['val'].mean(0) < judged.full.loss['val'].mean(0)[at]).sum())} of 14"
            assert float(row[6].removesuffix(" %")) == pytest.approx(100 * float(judged.full.accuracy["test"].mean(0)[at]), abs=0.06)

    def test_trials_lowest_first(self) -> None:
        table = report.tried([Trial({"a": k}, float(score), 0.5) for k, score in enumerate((3, 1, 2))])
        assert table is not None
        assert [row[2] for row in table.rows] == ["1.000", "2.000", "3.000"]
        assert report.tried(None) is None
        assert report.tried([]) is None

    def test_a_configuration_of_many_axes_is_folded_and_whole(self, tmp_path: Path) -> None:
        artefact = condensed()
        judged = evaluation(artefact)
        wide = {f"log10_decay.{k}": k / 7 for k in range(30)}
        found = page(tmp_path, artefact, replace(judged, configs=[dict(wide) for _ in judged.configs]))
        assert report.configuration(wide) in found.text
        assert len(found.all("details")) == 10 + 3

    def test_diverged_losses(self, tmp_path: Path) -> None:
        artefact = condensed()
        judged = evaluation(artefact, configs=6)
        judged.condensed.loss["val"][:, 2] = judged.condensed.criterion["val"][:, 2] = 1e30
        assert "diverged" in page(tmp_path, artefact, judged).text

    @pytest.mark.parametrize(
        ("value", "words"),
        [(None, "–"), (float("nan"), "–"), (0.1, "0.1"), (1e-05, "1e-05"), ((1, None), "1, –"), ({}, "{}"), (True, "True"), ("a", "a")],
    )
    def test_cells(self, value: object, words: str) -> None:
        assert report.text(value) == words

    @pytest.mark.parametrize(
        ("value", "words"),
        [(0.5, "0.5000"), (-1.25, "−1.250"), (1234.0, "1234"), (1e30, "diverged"), (-1e30, "diverged"), (float("inf"), "–")],
    )
    def test_figures(self, value: float, words: str) -> None:
        assert report.number(value) == words

    def test_rows_are_in_the_units_of_the_data(self) -> None:
        (title, train), (_, val) = report.rows(condensed("table"))
        assert title == "Training rows (8 of 12)"
        assert list(train.head) == ["came", "age", "town"]
        assert list(train.rows[0]) == ["no", "50.00", "Ulm (75.0 %)"]
        assert list(train.rows[1]) == ["yes", "40.00", "Bonn"]
        assert len(val.rows) == 8

    def test_vectors_have_rows_and_other_examples_none(self) -> None:
        artefact = condensed("table")
        vectors, deep = Examples(torch.ones(3, 2), torch.tensor([0.5, 1, 2]), 0), Examples(torch.ones(3, 2, 2), torch.arange(3), 3)
        made = replace(artefact, card=card("examples"), train=vectors, val=vectors)
        assert list(report.rows(made)[0][1].rows[0]) == ["0.5000", "1.000", "1.000"]
        assert report.rows(replace(made, train=deep, val=deep)) == []
        assert report.rows(condensed("images")) == []

    def test_what_did_not_fall_is_named(self) -> None:
        ups_and_downs = [{"step": float(n), "distance": float(n % 5)} for n in range(40)]
        falling = [record | {"distance": record["distance"] - n} for n, record in enumerate(ups_and_downs)]
        assert report.fell(condensed(history=falling)).startswith("It fell")
        assert "did not fall in distance to what the method matches:" in report.fell(condensed(history=ups_and_downs))
        assert "did not fall in 1 − correlation of validation losses:" in report.fell(condensed())

    def test_edgeless_graph_has_no_map_of_weights(self) -> None:
        artefact = condensed()
        alone = artefact.val.replace(adjacency=torch.zeros(9, 9))
        (only,) = report.samples(replace(artefact, val=alone))
        assert "no edges" in only.caption


class TestWriting:
    def test_same_arguments_same_bytes(self, tmp_path: Path) -> None:
        artefact = condensed()
        judged = evaluation(artefact)
        first = write_report(tmp_path / "a.html", artefact, judged).read_bytes()
        assert write_report(tmp_path / "b.html", artefact, judged).read_bytes() == first

    def test_the_folder_is_made_and_nothing_else_left(self, tmp_path: Path) -> None:
        artefact = condensed()
        path = write_report(tmp_path / "deep" / "report.html", artefact, evaluation(artefact))
        assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        artefact = condensed()
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError):
            write_report(tmp_path / "file" / "report.html", artefact, evaluation(artefact))

    @pytest.mark.parametrize("absent", ["jinja2", "matplotlib"])
    def test_missing_libraries_name_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
        artefact = condensed()
        monkeypatch.setitem(sys.modules, absent, None)
        with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[report\]'"):
            write_report(tmp_path / "report.html", artefact, evaluation(artefact))
        assert list(tmp_path.iterdir()) == []

    def test_libraries_are_imported_when_needed(self) -> None:
        code = "import sys, hcdc.evaluate; print({'matplotlib', 'jinja2'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"

    def test_styles_of_the_user_neither_enter_nor_are_lost(self, tmp_path: Path) -> None:
        import matplotlib as mpl

        artefact = condensed()
        judged = evaluation(artefact)
        plain = write_report(tmp_path / "a.html", artefact, judged).read_bytes()
        with mpl.rc_context({"axes.facecolor": "black", "font.size": 30}):
            assert write_report(tmp_path / "b.html", artefact, judged).read_bytes() == plain
            assert mpl.rcParams["font.size"] == 30


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browse(path: Path, scratch: Path, *flags: str) -> str:
    """Standard output of a headless browser that has shown `path`."""
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={scratch / 'profile'}", *flags]
    return subprocess.run([*command, path.as_uri()], capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path to show the page with")
class TestBrowser:
    def test_what_it_reads_is_what_was_written(self, written: Path, tmp_path: Path) -> None:
        wanted, read = Page(written.read_text("utf-8")), Page(browse(written, tmp_path, "--dump-dom"))
        assert read.text.split() == wanted.text.split()
        assert len(read.all("img")) == len(wanted.all("img"))

    @pytest.mark.parametrize("width", [390, 1280])
    def test_light_and_dark_on_a_laptop_and_a_phone(self, written: Path, tmp_path: Path, width: int) -> None:
        from matplotlib.image import imread

        corner: list[float] = []
        for name, flags in {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}.items():
            browse(written, tmp_path, *flags, f"--window-size={width},3000", f"--screenshot={tmp_path / name}.png")
            shot = imread(tmp_path / f"{name}.png")[..., :3]
            corner.append(float(shot[2, 2].mean()))
            assert np.ptp(shot[400:, -8:], axis=(0, 1)).max() < 0.02, "nothing runs out at the right"
            assert np.ptp(shot) > 0.8
        assert corner[0] > 0.9
        assert corner[1] < 0.2

    def test_no_request_leaves_the_page(self, written: Path, tmp_path: Path) -> None:
        """What the network stack of the browser was asked for, by its own log; the control would be seen in it."""
        control = tmp_path / "control.html"
        control.write_text('<img src="http://leak.invalid/x.png">')
        assert "http://leak.invalid/x.png" in asked(control, tmp_path)
        assert [url for url in asked(written, tmp_path) if not url.startswith(("data:", "file:", "chrome"))] == []


def asked(path: Path, scratch: Path) -> set[str]:
    """URLs in the network log of a browser that has shown `path`, but for those of the browser's own services."""
    log = scratch / f"{path.stem}.json"
    browse(path, scratch, "--dump-dom", f"--log-net-log={log}", "--disable-features=OptimizationHints,MediaRouter", "--disable-extensions")
    found = set(re.findall(r'"url":"([^"]+)"', log.read_text("utf-8")))
    return {url for url in found if not re.match(r"https?://([a-z0-9-]+\.)*(google|googleapis|gvt1|gstatic)\.com/", url)}
