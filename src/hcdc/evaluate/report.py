"""One self-contained HTML page that says whether the ranking is true, whether it paid, and how to do it again."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from torch import Tensor
from torch.nn import functional

from hcdc._device import on
from hcdc._typing import Config
from hcdc.data import Column, TableData
from hcdc.errors import MissingExtraError
from hcdc.evaluate import plots
from hcdc.evaluate.alignment import Alignment
from hcdc.evaluate.evaluation import Evaluation
from hcdc.evaluate.scores import DIVERGED
from hcdc.evaluate.verdict import even_from, light_of, score_of, show, verdict
from hcdc.search import Trial, ranked
from hcdc.store import Condensed, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "report.html.jinja"
DASH = "–"
TOP = 10
"""Configurations in a table."""

ROWS = 8
"""Rows of a condensed table that are shown of each part."""

DPI = 200
"""Two pixels of a figure to one of a screen at its full width."""

FLOORS = {"floor_strong": "strong floor", "floor_random": "random floor"}
LIGHTS = {"green": "Green", "amber": "Amber", "red": "Red"}


class Picture(NamedTuple):
    """A figure as the page shows it: `source` is a data URI, `width` and `height` are in CSS pixels."""

    title: str
    caption: str
    alt: str
    source: str
    width: int
    height: int


class Table(NamedTuple):
    """Cells are text already; of a row with `marked` true the page makes something of."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: int | None = None


def require_report() -> None:
    """Raise `MissingExtraError` where a report could not be written, before the work that it would report."""
    for module in ("jinja2", "matplotlib"):
        if find_spec(module) is None:
            raise MissingExtraError(module, "report")


def write_report(
    path: Path,
    condensed: Condensed,
    evaluation: Evaluation,
    trials: Sequence[Trial] | None = None,
    *,
    recommended: Mapping[str, Config] | None = None,
    command: str | None = None,
    alignment: Alignment | None = None,
) -> Path:
    """Write the page to `path`, whole or not at all, and return `path`; the same arguments give the same bytes.

    `trials` are those of searches on the set, where there were any, and `recommended` is what the guard of each recommends, by
    its algorithm; `command` holds the lines that led here, shown as they are; `alignment` is what `align` measured. No request
    leaves the page: styles and pictures are in it and there is no script. Raises `MissingExtraError` without the extra
    `report`, `StorageError` where `path` cannot be written.
    """
    path = Path(path)
    write_bytes(path, render(condensed, evaluation, trials, recommended, command, alignment).encode(errors="replace"))
    return path


def render(
    condensed: Condensed,
    evaluation: Evaluation,
    trials: Sequence[Trial] | None = None,
    recommended: Mapping[str, Config] | None = None,
    command: str | None = None,
    alignment: Alignment | None = None,
) -> str:
    """The page as text; every value is escaped."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "report") from error
    source = files("hcdc.evaluate").joinpath(TEMPLATE).read_text("utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(source)
    card, judged = condensed.card, verdict(evaluation.facts)
    with _plain_style():
        progress = [*curves(condensed), *cosines(alignment)]
        pictures = {"ranking": ranking(evaluation), "bill": [bill(evaluation)], "progress": progress, "samples": samples(condensed)}
    return template.render(
        card=card, unit=_unit(condensed), verdict=judged, light=LIGHTS[judged.light], **pictures, rows=rows(condensed),
        agreement=agreement(evaluation), costs=costs(evaluation.facts), top=top(evaluation), trials=tried(trials),
        recommended={name: configuration(config) for name, config in (recommended or {}).items()},
        made=made(condensed, evaluation, command), settings=flat(card.settings), recipes=flat(card.recipes), space=flat(card.space),
    )  # fmt: skip


def ranking(evaluation: Evaluation) -> list[Picture]:
    """Scatter and strips."""
    facts, small, truth = evaluation.facts, evaluation.condensed.loss["val"], evaluation.full.loss["val"]
    seeds = "" if small.shape[0] < 2 else f"; bars show one standard deviation over {small.shape[0]} seeds"
    first = picture(
        plots.scatter(small, truth, facts["picked_config"]),
        "This set against the full data",
        f"Each point is one configuration: the nearer all lie to one rising line, the better this set stands in for the full data{seeds}.",
    )
    rows = [plots.Row("optimal", truth.mean(0), 1.0), plots.Row("this set", small.mean(0), facts["spearman_loss"])]
    for key, name in FLOORS.items():
        if key in evaluation.floors:
            rows.append(plots.Row(f"{name} (real examples)", evaluation.floors[key].loss["val"].mean(0), facts[f"{key}_loss"]))
    second = picture(
        plots.strips(truth.mean(0), rows),
        "The rankings side by side",
        "Each slice is one configuration, coloured by its place on the full data (lighter is better): "
        "a good row fades from light to dark as the first does.",
    )
    return [first, second]


def bill(evaluation: Evaluation) -> Picture:
    """What was spent, and from where on it is less than without condensing."""
    facts = evaluation.facts
    condense, small, full = (float(facts[f"seconds_{part}"] or 0) for part in ("condense", "search_condensed", "search_full"))
    cost = plots.Bill(condense, small, full, facts["configs"], _even(facts))
    caption = "Below, the lines grow with every configuration tried: where they cross, condensing has paid for itself."
    if cost.break_even is None:
        caption = "Below, the lines grow with every configuration tried. Condensing has not paid for itself: "
        caption += "the ranking does not hold." if light_of(facts)[0] == "red" else "they never cross, as a training on this set is no quicker."
    return picture(plots.bill(cost), "Time spent", caption)


def curves(condensed: Condensed) -> list[Picture]:
    """One picture, or none where nothing was recorded."""
    figure = plots.curves(condensed.card.history)
    caption = f"What the method made smaller while it worked, step by step: falling and then level means that it was finished. {fell(condensed)}"
    return [] if figure is None else [picture(figure, "Progress of condensation", caption)]


def fell(condensed: Condensed) -> str:
    """Which of the curves are no lower in their last tenth than in their first, in a sentence."""
    level: list[str] = []
    for name, (_, values) in plots.tracked(condensed.card.history).items():
        tenth = -(-len(values) // 10)
        if fmean(values[-tenth:]) >= fmean(values[:tenth]):
            level.append(plots.METRICS.get(name, name).replace("\n", " "))
    if not level:
        return "It fell from the first tenth of the steps to the last."
    return f"From the first tenth of the steps to the last it did not fall in {', '.join(level)}: there the set ends no better than it began."


def cosines(found: Alignment | None) -> list[Picture]:
    """One picture, or none where nothing was measured."""
    if found is None:
        return []
    start = "" if found.before is None else "; before is what this set was learned from, real examples"
    caption = (
        f"At {len(found.loss)} points of the space, none of which condensing saw, the cosine between the hypergradient on this set and "
        f"the one on the full data: 1 says that a step down is the same step, 0 that the two have nothing to do with each other{start}."
    )
    return [picture(plots.cosines(*found), "Direction of hypergradients", caption)]


def samples(condensed: Condensed) -> list[Picture]:
    """Images of both parts, or the graph of S_val; none of a table and of other examples, which have `rows`."""
    with on("cpu"):
        return _samples(replace(condensed, train=condensed.train.to("cpu"), val=condensed.val.to("cpu")))


def _samples(condensed: Condensed) -> list[Picture]:
    val = condensed.val
    if condensed.card.data.kind in ("table", "examples"):
        return []
    if condensed.card.data.kind == "images":
        return [_images("Training images", condensed.train), _images("Validation images", val)]
    drawn = plots.strongest(val)
    shown = int((drawn.weights > 0).sum()) // 2
    what = f"the {shown} strongest of {drawn.edges} edges" if shown else "no edges: each node is judged by its own features"
    part = "" if len(drawn.nodes) == val.size else f" ({len(drawn.nodes)} of {val.size} nodes)"
    what += ", wider where stronger" if shown else ""
    caption = f"Each dot is one synthetic node{part}, coloured by its class; {what}."
    out = [picture(plots.graph_drawing(val), "Validation graph", caption)]
    if drawn.edges:
        caption = "How strongly each pair of nodes is joined: bright squares along the diagonal are classes that keep to themselves."
        out.append(picture(plots.adjacency(val), "Edge weights of the validation graph", caption))
    return out


def rows(condensed: Condensed) -> list[tuple[str, Table]]:
    """The first rows of both parts of a table, decoded, or of examples that are vectors, with their titles."""
    if condensed.card.data.kind not in ("table", "examples") or condensed.train.x.ndim != 2:
        return []
    parts = {"Training rows": condensed.train, "Validation rows": condensed.val}
    return [(f"{title} ({min(ROWS, data.size)} of {data.size})", _decoded(data)) for title, data in parts.items()]


def _decoded(data: Any) -> Table:
    """The target first; of a category that is a mixture, the largest share."""
    x, y = data.x[:ROWS].detach(), data.y[:ROWS].detach()
    if not isinstance(data, TableData):
        cells = [[text(label) if data.num_classes else number(label) for label in y.tolist()], *([number(v) for v in column] for column in x.T)]
        return Table(("target", *(f"x{at}" for at in range(x.shape[1]))), list(zip(*cells, strict=True)))
    encoded = [y.unsqueeze(1) if not data.num_classes else functional.one_hot(y, data.num_classes).float(), *x.split(list(data.widths), 1)]
    columns = (data.target, *data.columns)
    cells = [_column(column, part) for column, part in zip(columns, encoded, strict=True)]
    return Table([column.name for column in columns], list(zip(*cells, strict=True)))


def _column(column: Column, part: Tensor) -> list[str]:
    """Values [n, width] as they were before they were encoded."""
    if not column.categories:
        return [number(float(value) * column.scale + column.mean) for value in part[:, 0]]
    share, place = part.max(1)
    return [column.categories[int(at)] + ("" if float(most) > 0.995 else f" ({percent(most)})") for most, at in zip(share, place, strict=True)]


def _images(title: str, data: Any, limit: int = 100) -> Picture:
    some = f"{limit} of the {data.size} images" if data.size > limit else f"All {data.size} images"
    order = "class, the class number" if data.num_classes else "target, the target"
    caption = f"{some}, sorted by {order} under each; learned images need not look like anything."
    return picture(plots.image_grid(data.x, data.classes() if data.num_classes else data.y, limit=limit), title, caption)


def agreement(evaluation: Evaluation) -> Table:
    """Spearman's correlations, of this set, the floors and the ceiling."""
    floors = {key: name for key, name in FLOORS.items() if key in evaluation.floors}
    rows = {"spearman": "this set"} | floors | {"ceiling": "full data, another seed"}
    score, word = score_of(evaluation.facts)
    keys = ("loss", "top_half_loss", score, f"top_half_{score}")
    cells = [[name, *(show(evaluation.facts.get(f"{prefix}_{key}")) for key in keys)] for prefix, name in rows.items()]
    return Table(("", "by loss", "in its better half", f"by {word}", "in its better half"), cells, 0)


def _even(facts: Mapping[str, Any]) -> int | None:
    """The configurations from which on condensing has paid for itself: none where the ranking does not hold."""
    return None if light_of(facts)[0] == "red" else facts["break_even_configs"]


def costs(facts: Mapping[str, Any]) -> Table:
    """The same times as text."""
    parts = {"Condensing": "condense", "Search on this set": "search_condensed", "Search on the full data": "search_full"}
    rows = [[name, duration(facts[f"seconds_{key}"])] for name, key in parts.items()]
    even = _even(facts)
    paid = "never" if even is None else even_from(even, facts["seeds"])
    return Table(("", "time"), [*rows, ["Pays for itself", paid]])


def top(evaluation: Evaluation) -> Table:
    """The best by the criterion on S, with what the full data says of them; the picked one is marked."""
    score = evaluation.condensed.criterion["val"].mean(0)
    loss, accuracy = evaluation.full.loss["val"].mean(0), evaluation.full.accuracy["val"].mean(0)
    test, place = evaluation.full.accuracy["test"].mean(0), loss.argsort(stable=True).argsort(stable=True)
    rows: list[list[str]] = []
    name, word = score_of(evaluation.facts)
    written = percent if name == "accuracy" else number
    order = [int(at) for at in score.argsort(stable=True)[:TOP]]
    for position, at in enumerate(order, 1):
        found = [number(score[at]), number(loss[at]), f"{int(place[at]) + 1} of {len(place)}", written(accuracy[at]), written(test[at])]
        rows.append([str(position), configuration(evaluation.configs[at]), *found])
    head = ("place here", "configuration", "score here", "full loss", "full place", f"full {word}", f"test {word}")
    picked = evaluation.facts["picked_config"]
    return Table(head, rows, order.index(picked) if picked in order else None)


def tried(trials: Sequence[Trial] | None) -> Table | None:
    """The best of a search, lowest score first; None without one."""
    if not trials:
        return None
    best = ranked(trials)[:TOP]
    rows = [[str(at + 1), configuration(trial.config), number(trial.score), duration(trial.seconds)] for at, trial in enumerate(best)]
    return Table((f"place of {len(trials)}", "configuration", "score here", "time"), rows)


def made(condensed: Condensed, evaluation: Evaluation, command: str | None) -> Table:
    """What it takes to do it again, a row each."""
    card, facts = condensed.card, evaluation.facts
    unit = _unit(condensed)
    rows = {
        "Data": card.data.name,
        "SHA-256 of the data": card.data.sha256,
        "Classes": card.data.num_classes or "none: a regression",
        "Method": card.method,
        "Seed": card.seed,
        "Steps": card.steps,
        "Sizes": ", ".join(f"{part} {count} {unit}" for part, count in card.sizes.items()),
        "SHA-256 of the set": card.tensors_sha256 or None,
        "Judged on": f"{facts['configs']} configurations drawn with seed {facts['config_seed']}, {facts['seeds']} trainings each",
        "Hardware": card.hardware,
        "Versions": ", ".join(f"{name} {release}" for name, release in card.versions.items()),
        "Commands": command or None,
    }
    return Table(("", ""), [[key, text(value)] for key, value in rows.items()])


def flat(settings: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text)."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += flat(cast("Mapping[Any, Any]", value), f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", text(cast("object", value))))
    return rows


def text(value: object) -> str:
    """A value as it is, a dash for None and for numbers that are not finite."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, (list, tuple)):
        return ", ".join(map(text, cast("Sequence[object]", value)))
    return str(value)


def number(value: Tensor | float) -> str:
    """Four significant digits, with a true minus sign; "diverged" beyond reason."""
    value = float(value)
    if not math.isfinite(value):
        return DASH
    return "diverged" if abs(value) >= DIVERGED else f"{value:#.4g}".rstrip(".").replace("-", "\N{MINUS SIGN}")


def percent(value: Tensor | float | None) -> str:
    """A share in per cent."""
    return DASH if value is None or not math.isfinite(value) else f"{100 * float(value):.1f} %"


def duration(seconds: float | None) -> str:
    """Three significant digits in the unit that suits."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 0.1:
        return "under 0.1 s"
    span, unit = plots.time_unit(seconds)
    return f"{seconds / span:.3g} {unit}"


def configuration(config: Mapping[str, object]) -> str:
    """Names and values; a line breaks between pairs, not within one."""
    values = {name: number(value) if isinstance(value, float) else text(value) for name, value in config.items()}
    return ", ".join(f"{name}\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{value}" for name, value in values.items())


def picture(figure: Figure, title: str, caption: str) -> Picture:
    """`figure` as PNG in a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(title, caption, f"Figure: {title}. {caption}", source, width, height)


def _unit(condensed: Condensed) -> str:
    return condensed.card.data.unit


def _plain_style() -> Any:
    """The style that matplotlib ships with, whatever the user has configured, until the block ends."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    return style.context("default")
