"""From a name or a path to checked `Splits`.

Known names look below `root`, which is an argument, else the environment variable `HCDC_DATA`, else
`~/.cache/hcdc`. Nothing is fetched over a network unless `download=True` asks for it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from hcdc._device import here, on
from hcdc._tensors import digest
from hcdc.data.base import Real, Splits
from hcdc.data.cifar import LAYOUTS, read_cifar
from hcdc.data.examples import Examples
from hcdc.data.graphs import GraphData, graph_splits
from hcdc.data.graphsaint import GRAPHSAINT, load_graphsaint
from hcdc.data.images import ImageData, image_splits
from hcdc.data.inductive import inductive
from hcdc.data.layout import DAMAGE, ROOT, data_folder
from hcdc.data.ogb import OGB, load_ogb
from hcdc.data.pickles import PARTS, check_planetoid
from hcdc.data.pyg import FIELDS, check_unweighted, from_pyg
from hcdc.data.sbm import SBM, BlockModel, block_model
from hcdc.data.sparse import Sparse
from hcdc.data.tables import TableData, read_columns, shuffled_parts, table_splits
from hcdc.errors import DataError, FormatError, MissingExtraError

PLANETOID = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
IMAGES = ("digits", *LAYOUTS)
TABLES = ("breast_cancer", "wine", "diabetes")
INDUCTIVE = "inductive:"
TASKS = ("regression", "classes")
CSV = re.compile(r"(?P<path>.*\.csv)(,task=(?P<first>\w+))?(,target=(?P<target>.*?))?(,task=(?P<last>\w+))?")
WIDEST = 1 << 24
"""Columns of sparse features: what is made for every column, whether or not anything is in it, must fit in memory."""


Kind = Literal["graph", "images", "table", "examples"]
KINDS: dict[type[Any], Kind] = {GraphData: "graph", ImageData: "images", TableData: "table", Examples: "examples"}


@dataclass(frozen=True)
class Source:
    """A loaded dataset and what identifies it."""

    name: str
    splits: Splits[Any]
    sha256: str

    @classmethod
    def of(cls, name: str, splits: Splits[Any]) -> Source:
        """`splits` under a `name` of your choice, with their fingerprint."""
        return cls(name, Splits(*(part.to(here()) for part in splits)), fingerprint(splits))

    @property
    def kind(self) -> Kind:
        return kind_of(self.splits.train)


def kind_of(data: Any) -> Kind:
    """What a container holds, in the word that a card has for it."""
    found: Kind | None = KINDS.get(type(data))
    if found is None:
        raise DataError("data", type(data).__name__, f"must be of {', '.join(kind.__name__ for kind in KINDS)}", "make one of these of it")
    return found


def load(data: str | Path, root: str | Path | None = None, *, download: bool = False) -> Source:
    """The dataset of a known name (cora, citeseer, pubmed, ogbn-arxiv, reddit, flickr, digits, cifar10,
    cifar100, breast_cancer, wine, diabetes), a graph drawn as synthetic:sbm,option=value,... says (see `BlockModel`), a graph in an
    .npz file, NAME for root/graphs/NAME.npz, or a table in a .csv file (FILE.csv,target=COLUMN,task=regression, of which what
    follows the file may be left out; see `load_csv`).

    Raises `DataError` for a name that is not known, a file that is not there and data that breaks a rule, `FormatError`
    for a file that cannot be read, `MissingExtraError` where the loader's library is absent. `download` lets Planetoid
    and OGB fetch what is absent. Of a graph, a name that begins with "inductive:" gives the splits of
    `hcdc.data.inductive`: training sees the training nodes alone, validation these and its own.
    """
    name = str(data)
    with on("cpu"):
        splits = _load(name.removeprefix(INDUCTIVE), data_folder(root), download)
        if name.startswith(INDUCTIVE):
            if not isinstance(splits.train, GraphData):
                raise DataError("DATA", name, "only graphs have edges to leave out", "drop the prefix")
            splits = inductive(splits)
    return Source.of(name, splits)


def _load(name: str, folder: Path, download: bool) -> Splits[Any]:
    if name in PLANETOID:
        return load_planetoid(name, folder, download=download)
    if name == "digits":
        return load_digits()
    if name in LAYOUTS:
        return load_cifar(name, folder)
    if name in OGB:
        return load_ogb(name, folder, download=download)
    if name in GRAPHSAINT:
        return load_graphsaint(name, folder, download=download)
    if name.partition(",")[0] == SBM:
        return block_model(BlockModel.parse(name))
    if name in TABLES:
        return load_sklearn_table(name)
    if name.endswith(".npz"):
        return load_npz(Path(name))
    if table := CSV.fullmatch(name):
        return load_csv(Path(table["path"]), table["target"], table["last"] or table["first"])
    if re.fullmatch(r"[\w-]{1,64}", name) and (kept := folder / "graphs" / f"{name}.npz").is_file():
        return load_npz(kept)
    known = ", ".join((*PLANETOID, *OGB, *GRAPHSAINT, *IMAGES, *TABLES, SBM))
    raise DataError("DATA", name, f"must be one of {known}, a graph in {folder / 'graphs'} or the path of an .npz or a .csv", "check the spelling")


def fingerprint(parts: Splits[Any] | Real[Any]) -> str:
    """SHA-256 of all tensors of all parts."""
    return digest((f"{part}.{key}", value) for part, data in parts._asdict().items() for key, value in data.tensors().items())


def load_planetoid(name: str, root: Path, *, download: bool = False) -> Splits[GraphData]:
    """Cora, Citeseer or PubMed with the public split, through `torch_geometric.datasets.Planetoid`.

    Features are row-normalised to sum one, as Kipf and Welling (2016) do.
    """
    try:
        from torch_geometric.datasets import Planetoid
        from torch_geometric.transforms import NormalizeFeatures
    except ImportError as error:
        raise MissingExtraError("torch_geometric", "graphs") from error
    raw = root / "planetoid" / PLANETOID[name] / "raw"
    if not any((raw / f"ind.{name}.{part}").is_file() for part in PARTS):
        if not download:
            raise DataError("DATA", name, f"is not in {raw}", f"{ROOT}, or add --download")
        try:
            return from_pyg(Planetoid(str(root / "planetoid"), PLANETOID[name], transform=NormalizeFeatures())[0])
        except OSError as error:
            raise DataError("DATA", name, f"is not in {raw} and could not be fetched ({error})", ROOT) from error
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(raw, Path(scratch) / PLANETOID[name] / "raw")
        try:
            check_planetoid(Path(scratch) / PLANETOID[name] / "raw", name)
            with contextlib.redirect_stderr(io.StringIO()):
                dataset = Planetoid(scratch, PLANETOID[name], transform=NormalizeFeatures())
            return from_pyg(dataset[0])
        except DataError:
            raise
        except Exception as error:
            raise FormatError(f"{raw}: not the Planetoid files of {name} ({error}); fetch them again") from error


def load_npz(path: Path) -> Splits[GraphData]:
    """A graph from an .npz: features `x` [n, d] or as CSR (`x_indptr`, `x_indices`, `x_shape`, `x_data` unless
    binary), `edge_index` [2, E], `y` [n] and the masks `train_mask`, `val_mask`, `test_mask` [n].

    CSR features of which none is negative are taken for bags of words, whose rows are made to sum to 1, as in Planetoid;
    dense ones stay as they are.
    """
    if not path.is_file():
        raise DataError("DATA", str(path), "must be a file that exists", "check the path")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            fields = {name: archive[name] for name in archive.files}
    except (OSError, *DAMAGE) as error:
        said = "it holds something else, which is not unpickled" if "pickle" in str(error) else str(error)
        raise FormatError(f"{path}: not a readable .npz of plain arrays ({said}); write it again with numpy.savez") from error
    absent = [name for name in FIELDS if name not in fields]
    absent += [] if "x" in fields else [name for name in ("x_indptr", "x_indices", "x_shape") if name not in fields]
    if absent:
        raise FormatError(f"{path}: fields {absent} are missing; see the layout in the documentation of `load_npz`")
    try:
        tensors = {name: torch.from_numpy(_numbers(fields, name, "iub")) for name in FIELDS}
        x = torch.from_numpy(_numbers(fields, "x", "fiub")).float() if "x" in fields else _csr(fields)
        weights = _numbers(fields, "edge_weight", "fiub") if "edge_weight" in fields else None
    except DAMAGE as error:
        raise FormatError(f"{path}: arrays of a wrong type or shape ({error})") from error
    check_unweighted(weights)
    train, val, test = (tensors[name].bool() for name in ("train_mask", "val_mask", "test_mask"))
    return graph_splits(x, tensors["edge_index"].long(), tensors["y"].long(), train, val, test)


def _numbers(fields: dict[str, Any], name: str, kinds: str) -> Any:
    """The field, whose type must be of `kinds` (numpy's letters), so that no number is rounded or cut on the way."""
    found = np.asarray(fields[name])
    if found.dtype.kind not in kinds:
        raise TypeError(f"`{name}` has type {found.dtype}, must be {'numbers' if 'f' in kinds else 'whole numbers or booleans'}")
    return np.ascontiguousarray(found)


def _csr(fields: dict[str, Any]) -> Sparse:
    """Columns may come in any order in a row; entries that are given twice are summed; rows become shares where none is negative."""
    rows, columns = (int(value) for value in _numbers(fields, "x_shape", "iu"))
    if columns > WIDEST:
        raise ValueError(f"`x_shape` promises {columns} columns, may have {WIDEST}")
    pointers, indices = (_numbers(fields, name, "iu").astype(np.int64) for name in ("x_indptr", "x_indices"))
    data = _numbers(fields, "x_data", "fiub").astype(np.float32) if "x_data" in fields else np.ones(indices.size, np.float32)
    matrix = csr_matrix((data, indices, pointers), shape=(rows, columns))
    matrix.check_format(full_check=True)
    matrix.sum_duplicates()
    if not (matrix.data < 0).any():
        totals = np.asarray(matrix.sum(1)).ravel()
        matrix.data /= np.repeat(np.where(totals > 0, totals, 1), np.diff(matrix.indptr)).astype(np.float32)
    crow, col = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    return Sparse(torch.sparse_csr_tensor(crow, col, torch.from_numpy(matrix.data), (rows, columns), check_invariants=True))


def load_digits() -> Splits[ImageData]:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey; 1,000 train, 397 validation, 400 test, shuffled once."""
    try:
        from sklearn.datasets import load_digits as sklearn_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "images") from error
    bunch: Any = sklearn_digits()
    x = torch.from_numpy(bunch.images).float().unsqueeze(1) / 8 - 1
    order = torch.randperm(x.shape[0], generator=torch.Generator().manual_seed(0))
    train, val, test = order.split([1000, 397, 400])
    return image_splits(x, torch.from_numpy(bunch.target).long(), (train, val, test))


def load_sklearn_table(name: str) -> Splits[TableData]:
    """A table that ships with scikit-learn, shuffled once and cut 60 : 20 : 20; diabetes is a regression."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "tables") from error
    bunch: Any = getattr(datasets, f"load_{name}")()
    columns = dict(zip(map(str, bunch.feature_names), bunch.data.T, strict=True))
    return table_splits(columns, bunch.target, shuffled_parts(len(bunch.target)), target_name="target")


def load_csv(path: Path, target: str | None = None, task: str | None = None) -> Splits[TableData]:
    """A table from a .csv with a line of names: `target` is one of them (None: the last), a column `split` of train, val and
    test says the parts, and without one the rows are shuffled once and cut 60 : 20 : 20.

    `task` says whether the target is of a "regression" or "classes"; None: text and whole numbers are classes, and one with a
    decimal point in it makes a regression. More than `MANY` different whole numbers, of which few come again, are refused until
    it is said what they are. An empty cell and what is in `ABSENT` is a missing value.
    """
    if task is not None and task not in TASKS:
        raise DataError("task", task, f"must be one of {', '.join(TASKS)}", "choose one of these, or leave it out")
    if not path.is_file():
        raise DataError("DATA", str(path), "must be a file that exists", "check the path")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[_cell(text) for text in row] for row in csv.reader(file) if row]
    except (ValueError, csv.Error, OSError) as error:
        raise FormatError(f"{path}: not a readable .csv with a line of names ({error}); write it again as UTF-8") from error
    if not lines:
        raise FormatError(f"{path}: is empty; write a line of names and a line a row")
    head, *rows = lines
    if "" in head:
        raise FormatError(f"{path}: column {head.index('') + 1} has no name; name it, or leave it out (pandas: to_csv(index=False))")
    if len(head) == 1:
        raise FormatError(f"{path}: has one column, {head[0]!r}; separate the cells by commas, and put the target last")
    names = _cells(head)
    if names.dtype.kind == "f" and names.tolist() != list(range(len(head))):  # which is what pandas calls columns without a name
        raise FormatError(f"{path}: its first line holds numbers, {', '.join(head[:3])}, ...; write a line of names above it")
    uneven = [number for number, row in enumerate(rows, 2) if len(row) != len(head)]
    if uneven or len(rows) < 3 or len(set(head)) < len(head):
        what = f"line {uneven[0]} has another number of cells than the first" if uneven else "needs three rows and names that differ"
        raise FormatError(f"{path}: {what}; write it again with a name a column and a cell a name")
    cells = {name: [row[at] for row in rows] for at, name in enumerate(head)}
    split = cells.pop("split", None)
    name = list(cells)[-1] if target is None else target
    if name not in cells:
        raise DataError("target", name, f"must be a column of {path}: {', '.join(cells)}", f"write {path},target=COLUMN")
    values = _targets(cells.pop(name), f"{path},target={name}", task)
    columns = read_columns({column: _cells(texts) for column, texts in cells.items()}, "DATA")
    parts = shuffled_parts(len(rows)) if split is None else _parts_named(np.asarray(split))
    return table_splits(columns, values, parts, target_name=name)


MANY = 20
"""Different whole numbers that may be classes without more being said; of more of them, each must come again so often."""

ABSENT = {"na", "n/a", "nan", "null", "none", "?"}
"""Texts, in small letters, that stand for a missing value in a .csv."""


def _cell(text: str) -> str:
    """Without the spaces around it; empty where a value is missing."""
    text = text.strip()
    return "" if text.lower() in ABSENT else text


def _cells(cells: list[str], *, whole: bool = False) -> Any:
    """Cells as numbers where all are numbers (as integers, with `whole`, where all are such), else as they are."""
    for kind in (int, float) if whole else (float,):
        with contextlib.suppress(ValueError):
            return np.asarray([kind(cell) for cell in cells])
    filled = [cell for cell in cells if cell]
    with contextlib.suppress(ValueError):
        if filled and len(filled) < len(cells):
            return np.asarray([float(cell) if cell else float("nan") for cell in cells])
    return np.asarray(cells)


def _targets(cells: list[str], name: str, task: str | None) -> Any:
    """As `_cells`, of the kind that `task` says; `DataError` where whole numbers may be meant for either."""
    values = np.asarray(cells) if task == "classes" else _cells(cells, whole=task is None)
    if task == "regression" and values.dtype.kind != "f":
        raise DataError("task", task, f"{name} has cells that are no numbers", "drop these rows, or write task=classes")
    different = len(set(cells))
    if values.dtype.kind == "i" and different > MANY and MANY * different > len(cells):
        rule = f"may be classes or numbers: {different} different whole numbers in {len(cells)} rows"
        raise DataError("DATA", name, rule, f"write {name},task=regression, or task=classes")
    return values


def _parts_named(split: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    found = set(split.tolist())
    if found != {"train", "val", "test"}:
        raise DataError("split", sorted(found)[:5], "must be train, val or test in each row, and each in some", "name the parts so")
    train, val, test = (torch.from_numpy(np.flatnonzero(split == part)) for part in ("train", "val", "test"))
    return train, val, test


def load_cifar(name: str, root: Path) -> Splits[ImageData]:
    """CIFAR-10 or CIFAR-100 from its official python files; the last 10,000 of the 50,000 training images are validation."""
    x, y = read_cifar(name, root)
    n = list(LAYOUTS[name].files.values())[-1]
    count = x.shape[0] - 2 * n
    mean, deviation = x[:count].mean((0, 2, 3), keepdim=True), x[:count].std((0, 2, 3), keepdim=True)
    parts = torch.arange(x.shape[0]).split([count, n, n])
    return image_splits(x.sub_(mean).div_(deviation), y, (parts[0], parts[1], parts[2]), num_classes=LAYOUTS[name].classes)
