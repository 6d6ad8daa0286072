"""From whatever a user has to containers: arrays, frames, torch and Hugging Face datasets, loaders, graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
    default_convert,
)

from hcdc.data.examples import Examples, check_examples, check_filled
from hcdc.data.graphs import GraphData
from hcdc.data.images import ImageData
from hcdc.data.pyg import from_pyg
from hcdc.data.sparse import Sparse
from hcdc.data.tables import TableEncoder, read_columns
from hcdc.errors import DataError

KNOWN = "(X, y), a frame, a torch Dataset or DataLoader, a Hugging Face dataset, or a torch_geometric Data with masks"


class Raw(NamedTuple):
    """Inputs as columns by name or as one tensor [n, ...], and labels [n]."""

    inputs: dict[str, np.ndarray] | Tensor
    labels: Any


@dataclass(frozen=True)
class Intake:
    """How training data was read, so that validation and test data are read alike; `target` names the label column of a
    frame or of a Hugging Face dataset."""

    target: str | None
    num_classes: int
    encoder: TableEncoder | None
    shape: tuple[int, ...]

    @classmethod
    def of(cls, train: Any, target: str | None = None) -> tuple[Intake, Examples]:
        """The intake that `train` determines, and `train` as it is read."""
        raw = read_raw(train, target, "train")
        if isinstance(raw.inputs, dict):
            rows = torch.arange(len(next(iter(raw.inputs.values()))))
            encoder = TableEncoder.fitted(raw.inputs, raw.labels, rows, target or "y")
            data = encoder(raw.inputs, raw.labels, rows)
            return cls(target, data.num_classes, encoder, (data.num_features,)), data
        y = _labels(raw.labels, "train")
        classes = check_examples(raw.inputs, y, torch.arange(y.shape[0]))
        intake = cls(target, classes, None, tuple(raw.inputs.shape[1:]))
        return intake, intake._container(raw.inputs, y)

    def read(self, data: Any, name: str) -> Examples:
        """Validation or test `data`; raises `DataError` where it does not fit the training data."""
        raw = read_raw(data, self.target, name)
        if isinstance(raw.inputs, dict) != (self.encoder is not None):
            raise DataError(name, type(data).__name__, "must be of the kind of the training data", "give all parts in one form")
        if self.encoder is not None and isinstance(raw.inputs, dict):
            return self.encoder(raw.inputs, raw.labels)
        assert isinstance(raw.inputs, Tensor)
        y = _labels(raw.labels, name)
        if tuple(raw.inputs.shape[1:]) != self.shape:
            raise DataError(name, list(raw.inputs.shape), f"must be [n, {', '.join(map(str, self.shape))}] as in training", "shape all parts alike")
        if self.num_classes and y.is_floating_point():
            raise DataError(name, y.dtype, "labels are integers in training", "give the labels of all parts one type")
        if self.num_classes and (unseen := int(y.long().max())) >= self.num_classes:
            rule = f"training has classes 0 to {self.num_classes - 1}"
            raise DataError(name, f"class {unseen}", rule, "move an example of it to the training data, or leave the class out")
        check_examples(raw.inputs, y if self.num_classes else y.float(), None, self.num_classes or None)
        return self._container(raw.inputs, y)

    def _container(self, x: Tensor, y: Tensor) -> Examples:
        kind = ImageData if x.ndim == 4 else Examples
        return kind(x.float(), y.long() if self.num_classes else y.float(), self.num_classes)


def read_graph(data: Any) -> tuple[GraphData, GraphData, GraphData]:
    """Training, validation and test part of a `torch_geometric.data.Data` with masks, features dense."""
    parts = from_pyg(data)
    x = parts.train.x.dense() if isinstance(parts.train.x, Sparse) else parts.train.x
    train, val, test = (part.replace(x=x) for part in parts)
    return train, val, test


def read_raw(given: Any, target: str | None, name: str) -> Raw:
    """Inputs and labels of `data` in any of the forms of `KNOWN` but graphs; raises `DataError` for another."""
    data: Any = given
    if isinstance(given, (tuple, list)) and len(data) == 2 and hasattr(data[0], "__len__"):
        inputs, labels = data
        return Raw(read_columns(inputs, name) if _is_table(inputs) else _tensor(inputs, name), labels)
    if _is_table(data):
        columns = {str(column): data[column] for column in (data.columns if hasattr(data, "columns") else data)}
        return _columns(columns, target, name)
    if hasattr(data, "column_names") and hasattr(data, "features"):
        if not hasattr(data, "__len__"):
            raise DataError(name, type(data).__name__, "streams, and all examples have to be at hand", "load it without streaming")
        return _columns({str(column): data[column] for column in data.column_names}, target or "label", name)
    source = getattr(data, "dataset", data)
    if not isinstance(source, IterableDataset) and not (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
        raise DataError(name, type(data).__name__, f"must be {KNOWN}", "convert it to one of these")
    return _pairs(_collated(data, name) if isinstance(data, DataLoader) else _items(source), name)


def _columns(columns: Mapping[str, Any], target: str | None, name: str) -> Raw:
    if target is None or target not in columns:
        raise DataError("target", target, f"must name the label among the columns {list(columns)} of `{name}`", "pass target='...'")
    inputs = {column: values for column, values in columns.items() if column != target}
    nested = [column for column, values in inputs.items() if len(values) and np.ndim(_array(next(iter(values))))]
    if not nested:
        return Raw(read_columns(inputs, name), columns[target])
    if len(inputs) > 1:
        raise DataError(name, nested, "columns of arrays cannot stand beside others", "keep one column of inputs and the target")
    return Raw(_stacked(list(inputs[nested[0]]), nested[0]), columns[target])


def _items(source: Any) -> Iterable[Any]:
    """The examples of a dataset, in its own order."""
    return source if isinstance(source, IterableDataset) else (source[at] for at in range(len(source)))


def _collated(loader: DataLoader[Any], name: str) -> Iterable[Any]:
    """The examples of a loader in the order of its dataset, of a subset that is sampled those alone, after its `collate_fn` where
    that is of the user's own. `DataError` for a sampler that may show an example twice or not at all."""
    source, batches = loader.dataset, loader.batch_sampler
    if not isinstance(source, IterableDataset):
        sampler: Any = getattr(batches, "sampler", loader.sampler)
        if isinstance(sampler, SubsetRandomSampler):
            source = Subset(source, sorted(sampler.indices))
        elif type(batches) not in (BatchSampler, type(None)) or not _shows_all(sampler):
            rule = "draws as it likes, and does not say what the examples are"
            raise DataError(name, type(sampler).__name__, rule, "give the dataset, or torch.utils.data.Subset of it")
    if loader.collate_fn in (default_collate, default_convert):
        yield from _items(source)
        return
    size = loader.batch_size if batches is None else getattr(batches, "batch_size", loader.batch_size)
    for batch in DataLoader(source, size, collate_fn=loader.collate_fn):
        yield from zip(*batch, strict=True)


def _shows_all(sampler: Any) -> bool:
    """Whether each example comes once an epoch."""
    if isinstance(sampler, SequentialSampler):
        return True
    return isinstance(sampler, RandomSampler) and not sampler.replacement and sampler.num_samples == len(sampler.data_source)


def _pairs(source: Iterable[Any], name: str) -> Raw:
    """All examples (input, label); what is drawn for them leaves the global generator alone."""
    with torch.random.fork_rng(devices=[]):
        found = list(source)
    if not found or any(not isinstance(item, (tuple, list)) or len(item) != 2 for item in found):
        shown = type(found[0]).__name__ if found else "no examples"
        raise DataError(name, shown, "a dataset must give pairs (input, label)", "wrap it so that it does")
    labels = [y for _, y in found]
    _check_numbered(labels, name)
    return Raw(_stacked([x for x, _ in found], name), torch.stack([torch.as_tensor(y) for y in labels]))


def _stacked(values: list[Any], name: str) -> Tensor:
    """[n, ...] of n inputs of one shape."""
    arrays = [_array(value) for value in values]
    shapes = {tuple(np.shape(value)) for value in arrays}
    if len(shapes) > 1:
        raise DataError(name, sorted(shapes)[:3], "inputs must be of one shape", "pad or crop them in the dataset")
    return torch.stack([_tensor(value, name) for value in arrays])


def _array(value: Any) -> Any:
    """A picture of Pillow as floats [channels, height, width] in [-1, 1], anything else as it is."""
    if not hasattr(value, "getbands"):
        return value
    pixels = np.asarray(value)
    if pixels.dtype != np.uint8 or value.mode in ("P", "PA"):
        raise DataError("image", value.mode, "must have 8 bits a channel and no palette", "convert it to mode L or RGB")
    return np.atleast_3d(pixels).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1


def _is_table(data: Any) -> bool:
    return isinstance(data, Mapping) or (hasattr(data, "columns") and hasattr(data, "iloc"))


def _labels(values: Any, name: str) -> Tensor:
    """[n], of which there is one or more."""
    if not isinstance(values, Tensor):
        _check_numbered(np.atleast_1d(np.asarray(values, dtype=object)), name)
    y = _tensor(values, "y")
    check_filled(y, name)
    return y


def _check_numbered(labels: Iterable[Any], name: str) -> None:
    words = [label for label in labels if isinstance(label, str)]
    if words:
        raise DataError(name, words[0], "labels must be numbers", "number the classes from 0")


def _tensor(value: Any, name: str) -> Tensor:
    """On the CPU, where condensing works; doubles become floats. Raises `DataError` for what no tensor can be made of."""
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.require(np.asarray(value), requirements="W"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(name, type(value).__name__, f"must become a tensor ({error})", "convert it to numbers of one shape") from error
    if tensor.device.type != "cpu":
        raise DataError(name, str(tensor.device), "must be on the CPU, where condensing works", "call .cpu() on it")
    return tensor.detach().float() if tensor.dtype in (torch.float64, torch.float16, torch.bfloat16) else tensor.detach()
