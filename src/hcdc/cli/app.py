"""Flags to dataclasses; one JSON object or a few plain lines out; errors as one line and exit code 2."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Container, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer

from hcdc.cli import answers, artefacts, condensing, judging, probing, running, searching
from hcdc.errors import HcdcError, InputError

app = typer.Typer(
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # rich's own would take [default: 3] for a tag and leave it out
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"hcdc {version('hcdc')}\n")
        raise typer.Exit


@app.callback()
def root(_: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    """Condense a dataset to a tiny one that ranks hyperparameters as the whole does."""


DATA_HELP = (
    "cora, citeseer, pubmed, ogbn-arxiv, reddit, flickr, digits, cifar10, cifar100, breast_cancer, wine, diabetes, the path of a graph in "
    "an .npz or of a table in a .csv (its last column the target, or FILE.csv,target=COLUMN,task=regression), "
    "or synthetic:sbm,n=10000,classes=5,homophily=0.8,... (options in the README); a graph as inductive:DATA."
)
SPACE_HELP = (
    "polyfilter, ppr, heat, sign, appnp, graphnas (graphs), convmix, convnet, nasbench201 (images), logistic, mlp (tables) [default: by the data]."
)
ALGORITHM_HELP = "grid, random, hypergradient, darts, darts-pt, reinforce, graphnas, or Optuna's tpe, cmaes, hyperband."
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
Size = Annotated[int, typer.Option(help="Nodes, images or rows of the synthetic training set.")]
ValSize = Annotated[int | None, typer.Option(help="Of the synthetic validation set [default: the same].")]
Method = Annotated[str, typer.Option(help="hcdc, random, herding, k-center, centroids; graphs: paths, gcond, gcond-x; images: dc, dsa, dm, kip, tm.")]
Driver = Annotated[str, typer.Option(help="For hcdc: bank, or algorithm1 as the paper prints it.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Family = Annotated[str | None, typer.Option(help=SPACE_HELP)]
Order = Annotated[int | None, typer.Option(help="Powers of the graph, but for appnp and graphnas [default: 3; ppr, heat: 10].")]
Basis = Annotated[str | None, typer.Option(help="polyfilter: adjacency, laplacian, chebyshev or bernstein [default: adjacency].")]
Regularise = Annotated[list[str] | None, typer.Option(help="Search decay, edge_drop (graphs) or smoothing too; repeatable.")]
Searched = Annotated[list[str] | None, typer.Option(help="convnet: search depth, width, kernel, activation, pooling, decay, ...; repeatable.")]
Criterion = Annotated[str | None, typer.Option(help="By which S is read: loss, or soft-accuracy (the default where there are classes).")]
Steps = Annotated[int | None, typer.Option(help="Learning steps of the method [default: its own].")]
Neighbours = Annotated[int | None, typer.Option(help="hcdc: neighbours of a node that a real hypergradient reads [default: all].")]
Relaxation = Annotated[str | None, typer.Option(help="hcdc on nasbench201: softmax, gumbel or gdas, a sampled cell [default: gdas].")]
TrainFrom = Annotated[Path | None, typer.Option(metavar="DIR", help="hcdc: take S_train from this artefact.")]
SoftLabels = Annotated[bool, typer.Option("--soft-labels", help="Images: labels are probabilities; hcdc learns them.")]
Formation = Annotated[int, typer.Option(help="dc, dsa, dm, kip, tm, and hcdc on nasbench201: images are learned at 1/formation of each side.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch DATA where it is absent; without this nothing goes over a network.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The --out of a finished `hcdc condense`.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Engine = Annotated[str, typer.Option(help="local, or ray to spread independent pieces over processes and machines.")]
Address = Annotated[str | None, typer.Option(help="ray: HOST:PORT of a cluster [default: a local one].")]
Workers = Annotated[int | None, typer.Option(help="ray: processes of a local cluster [default: cores / threads].")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where there is one.")]
Root = Annotated[Path | None, typer.Option("--root", help="Where the datasets are [default: $HCDC_DATA].")]
Moved = Annotated[str | None, typer.Option("--data", help="Where the data is now [default: where the card says].")]
Work: TypeAlias = Callable[[], answers.Answer]


def command(function: Callable[..., Work]) -> Callable[..., Work]:
    """Make a command of `function`, whose parameters are its flags: --json is added to them, the work that it returns is
    done and its answer printed. What is returned takes the same flags, checks them and does nothing yet."""
    flags = flags_of(function)
    as_json = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)

    @functools.wraps(function)
    def work(**given: Any) -> Work:
        return filled(function, given)

    @functools.wraps(function)
    def done(*, as_json: bool, **given: Any) -> None:
        try:
            _emit(work(**given)(), as_json)
        except KeyboardInterrupt as interrupt:
            sys.stderr.write(f"interrupted{_after_an_interruption(flags, str(interrupt))}\n")
            raise typer.Exit(130) from None

    for made, parameters in ((work, list(flags.values())), (done, [*flags.values(), as_json])):
        made.__dict__["__signature__"] = inspect.Signature(parameters)
        made.__annotations__ = {each.name: each.annotation for each in parameters}
    app.command()(done)
    return work


def flags_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The flags of `function` by name: its parameters, those of its groups in the place of the groups."""
    found: dict[str, inspect.Parameter] = {}
    for parameter, group in _parameters(function):
        found |= {parameter.name: parameter} if group is None else flags_of(group)
    return found


def filled(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """`function` of the flags that are `given`; what a group makes of them stands in for the group."""
    arguments: dict[str, Any] = {}
    for parameter, group in _parameters(function):
        if group is not None:
            arguments[parameter.name] = filled(group, given)
        elif parameter.name in given:
            arguments[parameter.name] = given[parameter.name]
    return function(**arguments)


def _parameters(function: Callable[..., Any]) -> list[tuple[inspect.Parameter, Callable[..., Any] | None]]:
    """Parameters with their annotations, and of each the function in its annotation that makes it of flags, if there is one."""
    hints, found = get_type_hints(function, include_extras=True), list[tuple[inspect.Parameter, Callable[..., Any] | None]]()
    for each in inspect.signature(function).parameters.values():
        hint: Any = hints[each.name]
        group = next(filter(inspect.isfunction, getattr(hint, "__metadata__", ())), None)
        found.append((each.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY), group))
    return found


def _where(engine: Engine = "local", address: Address = None, workers: Workers = None, device: Device = "cpu") -> answers.Where:
    return answers.Where(engine, address, workers, device)


def _family(
    order: Order = None, basis: Basis = None, regularise: Regularise = None, search: Searched = None, criterion: Criterion = None
) -> dict[str, Any]:
    """The settings of a family that are given, by its own names."""
    given = {"order": order, "basis": basis, "criterion": criterion, "regularisers": tuple(regularise) if regularise else None,
             "searched": tuple(search) if search else None}  # fmt: skip
    return {key: value for key, value in given.items() if value is not None}


def _images(relaxation: Relaxation = None, train_from: TrainFrom = None, soft_labels: SoftLabels = False, formation: Formation = 1) -> dict[str, Any]:
    choices = {"relaxation": relaxation, "train_from": train_from, "soft_labels": soft_labels, "formation": formation}
    return {key: value for key, value in choices.items() if value is not None}


def _asked(
    *,
    data: Data,
    size: Size,
    val_size: ValSize = None,
    method: Method = "hcdc",
    driver: Driver = "bank",
    seed: Seed = 0,
    space: Family = None,
    family: Annotated[dict[str, Any], _family],
    steps: Steps = None,
    neighbours: Neighbours = None,
    images: Annotated[dict[str, Any], _images],
    root: Root = None,
    download: Download = False,
) -> condensing.Asked:
    return condensing.Asked(data, size, val_size, method, driver, seed, space, family, steps, neighbours, images, root, download)


Asked = Annotated[condensing.Asked, _asked]
Where = Annotated[answers.Where, _where]


@command
def condense(
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for the artefact; --dry-run alone does without.")] = None,
    asked: Asked,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the run would need, and stop there.")] = False,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Train a few configurations on the full data too, for a first verdict.")] = True,
    where: Where,
) -> Work:
    """Make a condensed set of DATA in --out."""
    if out is None and not dry_run:
        raise InputError("out", None, "must name the folder for the artefact", "give --out DIR, or --dry-run to see what the run would need")
    if out is None:
        return where.doing(partial(condensing.needs, asked, where))
    return where.doing(partial(condensing.condense, condensing.Condense(asked, out, resume, dry_run, probe, where)))


@command
def doctor(asked: Asked) -> Work:
    """Try a run before it: what would break, seconds and memory; exit code 2 where something would break."""
    return partial(condensing.doctor, asked)


@command
def probe(
    *,
    folder: Folder,
    configs: Annotated[int, typer.Option(help="Configurations to train on the full data.")] = 12,
    seeds: Annotated[int, typer.Option(help="Trainings of each configuration.")] = 2,
    data: Moved = None,
    root: Root = None,
    where: Where,
) -> Work:
    """Take a first look at DIR, however long it takes: a traffic light from a few configurations, kept in its card."""
    return where.doing(partial(probing.probe, probing.Request(folder, configs, seeds, root, where, data)))


@command
def evaluate(
    *,
    folder: Folder,
    configs: Annotated[int, typer.Option(help="Configurations to rank.")] = 80,
    seeds: Annotated[int, typer.Option(help="Trainings of each configuration.")] = 5,
    config_seed: Annotated[int, typer.Option(help="Seed that draws the configurations.")] = 123,
    cache: Annotated[Path | None, typer.Option(help="Where finished trainings are kept [default: DIR/trainings].")] = None,
    data: Moved = None,
    root: Root = None,
    where: Where,
) -> Work:
    """Judge DIR: its ranking against the full data's, the bill, a verdict and an HTML report."""
    return where.doing(partial(judging.evaluate, judging.Evaluate(folder, configs, seeds, config_seed, cache, root, where, data)))


@command
def search(
    *,
    folder: Folder,
    algorithm: Annotated[str, typer.Option(help=ALGORITHM_HELP)] = "random",
    trials: Annotated[int, typer.Option(help="Configurations to train; for a study that goes on, finished ones in all.")] = 80,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search kept in DIR; a study in --storage always goes on.")] = False,
    storage: Annotated[str | None, typer.Option(help="Optuna: URL of a database, or path of a SQLite file or a .log [default: in DIR].")] = None,
    guard: Annotated[int | None, typer.Option(help="Train the best so many on the full data before one is recommended.")] = None,
    axis: Annotated[list[str] | None, typer.Option(metavar="NAME=LOW:HIGH", help="Search another range of a numeric axis; repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --axis go beyond what DIR was condensed for.")] = False,
    data: Moved = None,
    root: Root = None,
    where: Where,
) -> Work:
    """Search hyperparameters on the condensed set in DIR."""
    request = searching.Search(folder, algorithm, trials, seed, resume, storage, guard, tuple(axis or ()), force, root, where, data)
    return where.doing(partial(searching.search, request))


@command
def show(folder: Folder, card: Annotated[bool, typer.Option("--card", help="Print it as a README.md for the Hugging Face Hub.")] = False) -> Work:
    """Say what DIR holds."""
    return partial(artefacts.show, folder, card)


@command
def verify(folder: Folder) -> Work:
    """Check that DIR is whole and unedited."""
    return partial(artefacts.verify, folder)


@command
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML: sections [condense], [search], [evaluate], whose keys are the flags.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run of FILE has done.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check FILE, say what condensing would need, and stop there.")] = False,
) -> Work:
    """Condense, search and judge as FILE says, in that order; a section that is absent is left out."""
    return running.run(file, {"condense": condense, "search": search, "evaluate": evaluate}, resume=resume, dry_run=dry_run)


def _after_an_interruption(flags: Container[str], kept: str) -> str:
    if "resume" in flags:
        return f"; {kept or 'what was finished is kept'}, and the same command with --resume goes on from there"
    return "; the same command goes on from the trainings that were kept" if "configs" in flags else ""


def _emit(answer: answers.Answer, as_json: bool) -> None:
    text = json.dumps(answer.facts, allow_nan=False) if as_json else "\n".join(answer.lines)
    sys.stdout.write(text.encode(errors="replace").decode() + "\n")
    if not answer.good:
        raise typer.Exit(2)


def main(arguments: list[str] | None = None) -> Any:
    """Entry point: exit 0 on success, 2 on bad input, 130 when interrupted."""
    try:
        app(args=arguments, standalone_mode=True)
    except HcdcError as error:
        if isinstance(error, InputError) and error.argument in condensing.FLAGS:
            error = type(error)(condensing.FLAGS[error.argument], error.value, error.rule, error.remedy)
        message = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(error).split()))
        sys.stderr.write(f"error: {message}\n")
        raise SystemExit(2) from None
