"""The artefact: condensed data as safetensors, and a JSON card that says all about it. Never pickle."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, field_validator, model_serializer, model_validator
from torch import Tensor

from hcdc._device import here
from hcdc._tensors import digest
from hcdc.data import Column, Examples, GraphData, ImageData, TableData
from hcdc.errors import FormatError, HcdcError, RunExistsError
from hcdc.spaces import Axis, Choice, Int, Real, Space
from hcdc.store.files import read_json, read_tensors, write_json, write_tensors

CARD, TENSORS = "card.json", "data.safetensors"
_AXES: dict[str, type[Axis]] = {"real": Real, "int": Int, "choice": Choice}


UNITS = {"graph": "nodes", "images": "images", "table": "rows", "examples": "examples"}
"""What the examples of each kind of data are called."""


class DataCard(BaseModel):
    """What was condensed; `num_classes` 0 stands for regression. `columns` are those of a table, its target the last."""

    model_config = ConfigDict(extra="forbid")
    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    kind: Literal["graph", "images", "table", "examples"]
    num_classes: int = Field(ge=0)
    columns: list[Column] | None = None

    @field_validator("num_classes")
    @classmethod
    def _not_one(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0 (regression) or at least 2")
        return value

    @model_validator(mode="after")
    def _of_tables(self) -> DataCard:
        if (self.kind == "table") != (self.columns is not None and len(self.columns) > 1):
            raise ValueError("a table, and nothing else, has columns and a target")
        return self

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `columns` where there are none, so that cards of other data stay what they were."""
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def unit(self) -> str:
        return UNITS[self.kind]

    @classmethod
    def of(cls, name: str, sha256: str, kind: Literal["graph", "images", "table", "examples"], data: Any) -> DataCard:
        """The card of data whose training part is `data`."""
        columns = [*data.columns, data.target] if isinstance(data, TableData) else None
        return cls(name=name, sha256=sha256, kind=kind, num_classes=data.num_classes, columns=columns)


class ProbeCard(BaseModel):
    """What a few configurations, trained on S and on the full data after condensing, say of the ranking on S.

    Figures are named as in the facts of an evaluation; what could not be had is None.
    """

    model_config = ConfigDict(extra="forbid")
    light: Literal["green", "amber", "red"]
    sentence: str
    configs: int = Field(ge=1)
    seeds: int = Field(ge=1)
    config_seed: int
    spearman_loss: float | None
    spearman_top_half_loss: float | None
    ci95: tuple[float | None, float | None]
    ceiling_loss: float | None
    floor_strong_loss: float | None
    seconds_search_condensed: float = Field(ge=0)
    seconds_search_full: float = Field(ge=0)
    break_even_configs: int | None
    seconds_probe: float = Field(ge=0)


class TriedCard(BaseModel):
    """How an S_train and a length of training on it ranked the real validation losses of a pilot."""

    model_config = ConfigDict(extra="forbid")
    train: str
    steps: int = Field(ge=1)
    spearman: float


class PilotCard(BaseModel):
    """The trainings on the full data by which S_train and the steps on it were chosen before condensing; `seconds` of the
    card hold theirs."""

    model_config = ConfigDict(extra="forbid")
    configs: int = Field(ge=1)
    tried: list[TriedCard]
    seconds: float = Field(ge=0)


class Card(BaseModel):
    """Everything about an artefact that is not a tensor; `recipes` rebuild what it was condensed for.

    `command` is the line that made it, without its --out, where there was one; `probe` what a first look at its ranking
    said, `pilot` what was chosen by trainings on the full data. None is written where it is absent, so that cards without them stay what they were.
    """

    model_config = ConfigDict(extra="forbid")
    format: Literal[1] = 1
    method: str
    settings: dict[str, Any]
    seed: int
    steps: int = Field(ge=0)
    data: DataCard
    recipes: dict[Literal["condensed", "full"], dict[str, Any]]
    space: dict[str, dict[str, Any]]
    sizes: dict[str, int]
    history: list[dict[str, float]]
    seconds: float = Field(ge=0)
    versions: dict[str, str]
    hardware: str
    command: str | None = None
    probe: ProbeCard | None = None
    pilot: PilotCard | None = None
    tensors_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    checksum: str = ""

    @field_validator("sizes")
    @classmethod
    def _of_both_parts(cls, value: dict[str, int]) -> dict[str, int]:
        if set(value) != {"train", "val"} or min(value.values()) < 1:
            raise ValueError("must be the positive sizes of train and val")
        return value

    @field_validator("settings", "recipes", "space", mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        """What JSON makes of it (a tuple becomes a list), so that a card is equal to what is read back."""
        return json.loads(json.dumps(value))

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if value is not None or name not in ("command", "probe", "pilot")}

    def signature(self) -> str:
        """SHA-256 of the card's other fields, by which an edit is seen."""
        content = json.dumps(self.model_dump(exclude={"checksum"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class Condensed:
    """A condensed dataset: `train` and `val` containers of the kind of the original, and their card."""

    train: Any
    val: Any
    card: Card

    def __repr__(self) -> str:
        sizes = f"{self.card.sizes.get('train')} {self.card.data.unit} to train, {self.card.sizes.get('val')} to validate"
        return f"Condensed({self.card.data.name} by {self.card.method}: {sizes}, in {self.card.seconds:.1f} s)"

    @property
    def space(self) -> Space:
        return space_from_card(self.card.space)

    def save(self, folder: str | Path) -> Card:
        """Write `data.safetensors` and then `card.json`; refuses a folder that already holds an artefact."""
        folder = Path(folder)
        if (folder / CARD).exists():
            raise RunExistsError(f"{folder} already holds an artefact; choose another folder or remove it")
        card = self.card.model_copy(update={"tensors_sha256": write_tensors(folder / TENSORS, self._tensors())})
        card = card.model_copy(update={"checksum": card.signature()})
        write_json(folder / CARD, card.model_dump())
        return card

    def fingerprint(self) -> str:
        """SHA-256 of all tensors, the same before and after saving."""
        return digest(self._tensors().items())

    def _tensors(self) -> dict[str, Tensor]:
        parts = {"train": self.train, "val": self.val}
        return {f"{part}.{key}": value for part, data in parts.items() for key, value in data.tensors().items()}


def load_condensed(folder: str | Path) -> Condensed:
    """The artefact in `folder`, checked whole: hashes, fields, shapes, labels, finite values.

    Raises `FormatError` naming the first thing that is wrong.
    """
    folder = Path(folder)
    card = load_card(folder)
    tensors = read_tensors(folder / TENSORS, card.tensors_sha256)
    try:
        train, val = (_BUILD[card.data.kind](tensors, part, card) for part in ("train", "val"))
    except KeyError as error:
        raise FormatError(f"{folder / TENSORS} lacks the tensor {error}") from error
    try:
        space_from_card(card.space)
    except HcdcError as error:
        raise FormatError(f"{folder / CARD}: field `space` is not a search space ({error})") from error
    return Condensed(train, val, card)


def amend_card(folder: Path, **fields: Any) -> Card:
    """The card in `folder` with other values of `fields`, signed and written anew; its tensors stay as they are."""
    card = load_card(folder).model_copy(update=fields)
    card = card.model_copy(update={"checksum": card.signature()})
    write_json(folder / CARD, card.model_dump())
    return card


def load_card(folder: Path) -> Card:
    """The card alone; `FormatError` when it is absent, of another format, or edited."""
    path = folder / CARD
    if not folder.is_dir():
        raise FormatError(f"{folder} is not a folder; give the --out of a finished `hcdc condense`")
    if not path.exists() and (folder / "checkpoint").is_dir():
        raise FormatError(f"{folder} holds an unfinished run; go on with it first: the same hcdc condense with --resume")
    try:
        card = Card.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise FormatError(f"{path}: field `{where}`: {first['msg']}") from error
    if card.checksum != card.signature():
        raise FormatError(f"{path}: field `checksum` does not fit the others; the card was edited")
    return card


def space_to_card(space: Space) -> dict[str, dict[str, Any]]:
    kinds = {kind: name for name, kind in _AXES.items()}
    return {name: {"kind": kinds[type(axis)], **asdict(axis)} for name, axis in space.axes.items()}


def space_from_card(axes: dict[str, dict[str, Any]]) -> Space:
    try:
        return Space({name: _axis(dict(fields)) for name, fields in axes.items()})
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise FormatError(f"field `space`: {error} is no axis that this version knows") from error


def _axis(fields: dict[str, Any]) -> Axis:
    kind: Any = _AXES[fields.pop("kind")]
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


def library_versions() -> dict[str, str]:
    """Versions of python, hcdc and the libraries that numbers depend on, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in ("hcdc", "torch", "numpy", "safetensors", "torch_geometric", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def numerics() -> dict[str, str]:
    """On what the bits of a training depend beside its settings: the versions of hcdc and torch, and a device that is no CPU."""
    device = here().type
    return {name: version(name) for name in ("hcdc", "torch")} | ({} if device == "cpu" else {"device": device})


def hardware() -> str:
    """The machine in a few words: processor architecture, threads, accelerator."""
    device = torch.cuda.get_device_name() if here().type == "cuda" else "no GPU"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, {device}"


def _graph(tensors: dict[str, Tensor], part: str, card: Card) -> GraphData:
    x, adjacency, y, mask = (tensors[f"{part}.{name}"] for name in ("x", "adjacency", "y", "mask"))
    n = y.shape[0] if y.ndim == 1 else -1
    shapes = {"x": x.ndim == 2 and x.shape[0] == n and x.shape[1] > 0, "adjacency": adjacency.shape == (n, n), "mask": mask.shape == (n,)}
    _require(part, shapes | {"mask": mask.dtype == torch.bool and shapes["mask"] and bool(mask.any())}, "shape")
    _require(part, {"x": _finite(x), "adjacency": _finite(adjacency) and float(adjacency.min()) >= 0}, "range")
    _check_labels(part, y[mask], card)
    return GraphData(x, adjacency, y, mask, card.data.num_classes)


def _examples(tensors: dict[str, Tensor], part: str, card: Card) -> Examples:
    x, y = tensors[f"{part}.x"], tensors[f"{part}.y"]
    soft = card.data.kind == "images" and y.ndim == 2 and y.shape[1] == card.data.num_classes
    _require(part, {"x": x.ndim >= 2 and x.numel() > 0, "y": (y.ndim == 1 or soft) and x.shape[0] == y.shape[0]}, "shape")
    _require(part, {"x": _finite(x)}, "range")
    if soft:
        _require(part, {"y": _finite(y) and float(y.min()) >= 0 and bool((y.sum(1) - 1).abs().max() < 1e-3)}, "range")
    else:
        _check_labels(part, y, card)
    return Examples(x, y, card.data.num_classes)


def _images(tensors: dict[str, Tensor], part: str, card: Card) -> ImageData:
    _require(part, {"x": tensors[f"{part}.x"].ndim == 4}, "shape")
    found = _examples(tensors, part, card)
    return ImageData(found.x, found.y, found.num_classes)


def _table(tensors: dict[str, Tensor], part: str, card: Card) -> TableData:
    *columns, target = card.data.columns or []
    x = tensors[f"{part}.x"]
    _require(part, {"x": x.ndim == 2 and x.shape[1] == sum(column.width for column in columns)}, "shape")
    found = _examples(tensors, part, card)
    return TableData(found.x, found.y, found.num_classes, tuple(columns), target)


_BUILD: Mapping[str, Callable[[dict[str, Tensor], str, Card], Any]] = {"graph": _graph, "images": _images, "table": _table, "examples": _examples}


def _finite(value: Tensor) -> bool:
    return value.dtype in (torch.float32, torch.float64) and bool(torch.isfinite(value).all())


def _check_labels(part: str, y: Tensor, card: Card) -> None:
    """`y` of the examples that enter the loss."""
    if not card.data.num_classes:
        _require(part, {"y": y.numel() > 0 and _finite(y)}, "range")
        return
    valid = y.dtype == torch.int64 and y.numel() > 0 and int(y.min()) >= 0 and int(y.max()) < card.data.num_classes
    _require(part, {"y": valid}, "range")


def _require(part: str, valid: dict[str, bool], what: str) -> None:
    for name, good in valid.items():
        if not good:
            raise FormatError(f"tensor `{part}.{name}` has a wrong {what} for its card")
