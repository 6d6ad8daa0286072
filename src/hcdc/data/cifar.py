"""CIFAR-10 in its official python layout, read without running any code that the files may carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hcdc.data.layout import ROOT
from hcdc.data.pickles import ARRAYS, unpickle
from hcdc.errors import DataError, FormatError

IMAGES_A_BATCH = 10_000
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def read_cifar10(root: Path) -> tuple[Tensor, Tensor]:
    """Images [60000, 3, 32, 32] in [0, 1] and labels [60000]: the five training batches, then the test batch."""
    folder = root if root.name == "cifar-10-batches-py" else root / "cifar-10-batches-py"
    if not folder.is_dir():
        raise DataError("DATA", "cifar10", f"needs the official python files in {folder}", f"unpack cifar-10-python.tar.gz there, or {ROOT}")
    images, labels = zip(*(_batch(folder / name) for name in BATCHES), strict=True)
    x = torch.from_numpy(np.concatenate(images)).float().div_(255)
    return x.reshape(-1, 3, 32, 32), torch.from_numpy(np.concatenate(labels))


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = unpickle(path.read_bytes(), ARRAYS, "bytes")
        fields = {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}  # text where Python 3 wrote them
        data, labels = fields[b"data"], np.asarray(fields[b"labels"], np.int64)
    except Exception as error:
        raise FormatError(f"{path}: not a whole CIFAR-10 batch ({error}); unpack the archive again") from error
    n = IMAGES_A_BATCH
    if not isinstance(data, np.ndarray) or data.shape != (n, 3072) or data.dtype != np.uint8 or labels.shape != (n,):
        raise FormatError(f"{path}: `data` must be uint8 [{n}, 3072] and `labels` {n} integers; unpack the archive again")
    return data, labels
