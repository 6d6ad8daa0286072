"""CIFAR-10 and CIFAR-100 in their official python layout, read without running any code that the files may carry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hcdc.data.layout import ROOT
from hcdc.data.pickles import ARRAYS, unpickle
from hcdc.errors import DataError, FormatError


@dataclass(frozen=True)
class Layout:
    """The `files` below `folder` with the images that each holds, the test set last; `labels` is the field of the `classes`."""

    folder: str
    files: dict[str, int]
    labels: bytes
    classes: int


LAYOUTS = {
    "cifar10": Layout("cifar-10-batches-py", {f"data_batch_{i}": 10_000 for i in range(1, 6)} | {"test_batch": 10_000}, b"labels", 10),
    "cifar100": Layout("cifar-100-python", {"train": 50_000, "test": 10_000}, b"fine_labels", 100),
}


def read_cifar(name: str, root: Path) -> tuple[Tensor, Tensor]:
    """Images [60000, 3, 32, 32] in [0, 1] and labels [60000] of a name of `LAYOUTS`: those to train on, then the test set."""
    layout = LAYOUTS[name]
    folder = root if root.name == layout.folder else root / layout.folder
    if not folder.is_dir():
        raise DataError("DATA", name, f"needs the official python files in {folder}", f"unpack the archive for python there, or {ROOT}")
    images, labels = zip(*(_batch(folder / file, count, layout.labels) for file, count in layout.files.items()), strict=True)
    x = torch.from_numpy(np.concatenate(images)).float().div_(255)
    return x.reshape(-1, 3, 32, 32), torch.from_numpy(np.concatenate(labels))


def _batch(path: Path, n: int, field: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = unpickle(path.read_bytes(), ARRAYS, "bytes")
        fields = {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}  # text where Python 3 wrote them
        data, labels = fields[b"data"], np.asarray(fields[field], np.int64)
    except Exception as error:
        raise FormatError(f"{path}: not a whole CIFAR batch ({error}); unpack the archive again") from error
    if not isinstance(data, np.ndarray) or data.shape != (n, 3072) or data.dtype != np.uint8 or labels.shape != (n,):
        raise FormatError(f"{path}: `data` must be uint8 [{n}, 3072] and `{field.decode()}` {n} integers; unpack the archive again")
    return data, labels
