"""Reddit and Flickr in the layout of GraphSAINT (Zeng et al., 2020), read without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from hcdc.data.base import Splits
from hcdc.data.graphs import GraphData, graph_splits
from hcdc.data.layout import DAMAGE, ROOT, node_mask, reading
from hcdc.errors import DataError, FormatError

GRAPHSAINT = ("reddit", "flickr")
FILES = ("adj_full.npz", "feats.npy", "class_map.json", "role.json")


def load_graphsaint(name: str, root: Path, *, download: bool = False) -> Splits[GraphData]:
    """A graph from root/name: adj_full.npz (CSR), feats.npy [n, d], class_map.json and role.json (tr, va, te).

    Features are x' = (x - mean) / deviation, a column at a time, with the mean and the deviation over the training
    nodes; a column without deviation is only centred. One class a node; `DataError` where nodes have several.
    """
    folder = root / name
    if not folder.is_dir():
        rule = f"needs {', '.join(FILES)} in {folder}" + (", and has no address that they can be fetched from" if download else "")
        raise DataError("DATA", name, rule, f"put there the files that the README of github.com/GraphSAINT/GraphSAINT links to, or {ROOT}")
    adjacency, feats, classes, role = (folder / file for file in FILES)
    x = _features(feats)
    n = int(x.shape[0])
    edges = _edges(adjacency, n)
    y = _labels(name, classes, n)
    with reading(role, *DAMAGE):
        parts: Any = json.loads(role.read_bytes())
        masks = [node_mask(parts[part], n) for part in ("tr", "va", "te")]
    return graph_splits(_standardised(x, masks[0].numpy()), edges, y, masks[0], masks[1], masks[2])


def _features(path: Path) -> NDArray[Any]:
    with reading(path, *DAMAGE), path.open("rb") as file:
        x: Any = np.load(file, allow_pickle=False)
        if not isinstance(x, np.ndarray) or x.ndim != 2 or x.dtype.kind not in "fiub" or 0 in x.shape:
            raise ValueError("must be one array of numbers [n, d]")
        return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


def _edges(path: Path, n: int) -> torch.Tensor:
    """`edge_index` [2, E] of the entries that are not zero."""
    with reading(path, *DAMAGE), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        if archive["format"].item() not in (b"csr", "csr"):
            raise ValueError("`format` must be csr")
        matrix = csr_matrix((archive["data"], archive["indices"], archive["indptr"]), shape=tuple(archive["shape"].tolist()))
        matrix.check_format(full_check=True)
        if matrix.shape != (n, n):
            raise ValueError(f"the matrix is {matrix.shape}, feats.npy has {n} rows")
        matrix.eliminate_zeros()
        row = np.repeat(np.arange(n, dtype=matrix.indices.dtype), np.diff(matrix.indptr))
        return torch.from_numpy(np.stack([row, matrix.indices]))


def _labels(name: str, path: Path, n: int) -> torch.Tensor:
    with reading(path, *DAMAGE):
        classes: Any = json.loads(path.read_bytes())
        if not isinstance(classes, dict) or len(classes) != n:
            raise ValueError(f"must map each of {n} nodes to its class")
        labels: list[Any] = [classes[str(node)] for node in range(n)]
    if any(isinstance(label, list) for label in labels):
        raise DataError("DATA", name, f"{path} gives a node several labels", "take a data set with one class a node")
    if any(type(label) is not int for label in labels):
        raise FormatError(f"{path}: classes must be whole numbers; put the data set's own file there again")
    with reading(path, *DAMAGE):
        return torch.tensor(labels)


def _standardised(x: NDArray[Any], train: NDArray[np.bool_]) -> torch.Tensor:
    """Of `x` itself, in place; as it is where no node trains, which the checks of the graph refuse."""
    if not train.any():
        return torch.from_numpy(x).float()
    with np.errstate(all="ignore"):  # what is not finite is found by the checks of the graph
        mean, deviation = x[train].mean(0, dtype=np.float64), x[train].std(0, dtype=np.float64)
        constant = x[train].min(0) == x[train].max(0)
        np.subtract(x, mean, out=x, casting="same_kind")
        np.divide(x, np.where(constant, 1, deviation), out=x, casting="same_kind")
        return torch.from_numpy(x).float()
