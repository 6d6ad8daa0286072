"""What readers of public layouts on disk share."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hcdc.errors import FormatError

DAMAGE = (
    ValueError, TypeError, LookupError, OverflowError, RuntimeError, MemoryError, EOFError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error,
    lzma.LZMAError, struct.error,
)  # fmt: skip
"""What numpy, scipy and json raise on a damaged file: of a size past memory, nested too deep, with a header in shreds."""


ROOT = "name the folder of the datasets by --root or HCDC_DATA"
"""The remedy where `data_folder` does not hold what is asked for."""


def data_folder(root: str | Path | None) -> Path:
    """`root`, else the environment variable `HCDC_DATA`, else `~/.cache/hcdc`."""
    return Path(root or os.environ.get("HCDC_DATA") or Path.home() / ".cache" / "hcdc")


@contextmanager
def reading(path: Path, *expected: type[Exception]) -> Generator[None]:
    """Turn what goes wrong inside, an `OSError` or one of `expected`, into a `FormatError` that names `path`."""
    if not path.is_file():
        raise FormatError(f"{path}: is missing; put the data set's own file there, or remove its folder and fetch it again")
    try:
        yield
    except (OSError, *expected) as error:
        raise FormatError(f"{path}: not a whole file of this layout ({error}); put the data set's own file there again") from error


def node_mask(index: ArrayLike, n: int) -> Tensor:
    """Bool [n], True at the nodes `index` [m], each named once; `ValueError` for anything else."""
    nodes = np.asarray(index)
    if nodes.ndim != 1 or (nodes.size and nodes.dtype.kind not in "iu"):
        raise ValueError("a part of the split must be a list of node numbers")
    if nodes.size and not 0 <= nodes.min() <= nodes.max() < n:
        raise ValueError(f"the split names nodes {nodes.min()}..{nodes.max()}, nodes run from 0 to {n - 1}")
    mask = np.zeros(n, bool)
    mask[nodes.astype(np.int64)] = True
    if mask.sum() != nodes.size:
        raise ValueError("a part of the split names a node twice")
    return torch.from_numpy(mask)
