"""ogbn-arxiv in the raw layout of the Open Graph Benchmark (Hu et al., 2020), read without its library."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hcdc.data.base import Splits
from hcdc.data.download import extract, fetch
from hcdc.data.graphs import GraphData, graph_splits
from hcdc.data.layout import ROOT, node_mask, reading
from hcdc.errors import DataError, FormatError

OGB = {
    "ogbn-arxiv": (
        "https://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip",
        "49f85c801589ecdcc52cfaca99693aaea7b8af16a9ac3f41dd85a5f3193fe276",
    )
}
"""Names, where their archives are, and the SHA-256 of these. OGB publishes none: it is the one under which ten public
projects keep the 83,058,288 bytes. A name's folder has an underscore for its dash."""
LIMIT = 1 << 31
"""Bytes that an archive may unpack to."""


def load_ogb(name: str, root: Path, *, download: bool = False) -> Splits[GraphData]:
    """A node dataset of OGB from root/ogbn_arxiv; features as they are, the split by time.

    `raw/` holds edge.csv.gz (two node numbers a line), node-feat.csv.gz (d numbers), node-label.csv.gz (one class)
    and num-node-list.csv.gz (n); `split/time/` holds train, valid and test.csv.gz (one node number a line). Citations
    are directed there; here, as everywhere, edges are made symmetric.
    """
    folder = root / name.replace("-", "_")
    if not folder.is_dir():
        if not download:
            raise DataError("DATA", name, f"is not in {folder}", f"{ROOT}, or add --download")
        url, sha256 = OGB[name]
        archive = fetch(url, root / f"{folder.name}.zip", sha256)
        extract(archive, PurePosixPath(url).stem, folder, limit=LIMIT)
        archive.unlink()
    raw, split = folder / "raw", folder / "split" / "time"
    counts = _table(raw / "num-node-list.csv.gz", np.int64)
    if counts.shape != (1, 1) or counts[0, 0] < 1:
        raise FormatError(f"{raw / 'num-node-list.csv.gz'}: must hold one number of nodes; put the data set's own file there again")
    n = int(counts[0, 0])
    edges = _table(raw / "edge.csv.gz", np.int64, columns=2)
    x = _table(raw / "node-feat.csv.gz", np.float32, rows=n)
    y = _table(raw / "node-label.csv.gz", np.int64, rows=n, columns=1)
    masks: list[torch.Tensor] = []
    for part in ("train", "valid", "test"):
        path = split / f"{part}.csv.gz"
        with reading(path, ValueError):
            masks.append(node_mask(_table(path, np.int64, columns=1)[:, 0], n))
    tensors = [torch.from_numpy(np.ascontiguousarray(value)) for value in (x, edges.T, y[:, 0])]
    return graph_splits(tensors[0], tensors[1], tensors[2], masks[0], masks[1], masks[2])


def _table(path: Path, kind: type[Any], rows: int | None = None, columns: int | None = None) -> NDArray[Any]:
    """Numbers [rows, columns] of a gzipped csv without a header; `FormatError` where it is anything else."""
    with reading(path, EOFError, zlib.error, ValueError, OverflowError, Warning), warnings.catch_warnings():
        warnings.simplefilter("error")  # no lines, and fractions in place of whole numbers, are only warned of
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, kind, delimiter=",", comments=None, ndmin=2)
    if (rows or table.shape[0], columns or table.shape[1]) != table.shape:
        expected = f"[{rows or 'any'}, {columns or 'any'}]"
        raise FormatError(f"{path}: has shape {list(table.shape)}, must have {expected}; put the data set's own file there again")
    return table
