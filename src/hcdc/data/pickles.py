"""Data sets that were published as pickles, read without running any code that the files may carry."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

Global = tuple[str, str]
"""Module and name of what a pickle refers to."""

ARRAYS: frozenset[Global] = frozenset({
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    ("numpy._core.numeric", "_frombuffer"), ("numpy.core.numeric", "_frombuffer"),
})  # fmt: skip
CSR: Global = ("scipy.sparse.csr", "csr_matrix")
GRAPH: frozenset[Global] = frozenset({("collections", "defaultdict"), ("__builtin__", "list"), ("builtins", "list")})
TABLES = ("x", "tx", "allx", "y", "ty", "ally")
PARTS = (*TABLES, "graph", "test.index")
"""The files of a Planetoid data set, ind.NAME.PART."""
LIMIT = 1 << 28
"""Numbers that a table may have when it is made dense."""


def unpickle(content: bytes, admitted: Collection[Global], encoding: str) -> Any:
    """What `content` holds, made of plain values and of `admitted` alone; `UnpicklingError` where it wants anything else.

    A number in the memo is bounded by the length of the file, since the reader makes room for it at once.
    """
    for code, argument, _ in pickletools.genops(content):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise pickle.UnpicklingError(f"{code.name} {argument} is past the end of the file")
    return _Reader(content, admitted, encoding).load()


class _Reader(pickle.Unpickler):
    def __init__(self, content: bytes, admitted: Collection[Global], encoding: str) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self.admitted = admitted

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in self.admitted:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in a data set")
        return csr_matrix if (module_name, global_name) == CSR else super().find_class(module_name, global_name)


def check_planetoid(raw: Path, name: str) -> None:
    """Raise `ValueError` naming the file unless the eight files of `name` below `raw` hold plain tables, a graph and a list of nodes.

    Their reader in torch_geometric unpickles whatever it is given; what passes here can neither run code there, nor
    point outside of its arrays, nor ask for more memory than `LIMIT` numbers a table.
    """
    shapes: dict[str, tuple[int, int]] = {}
    for part in PARTS:
        path = raw / f"ind.{name}.{part}"
        try:
            content = path.read_bytes()
            if part == "graph":
                _check_graph(unpickle(content, GRAPH, "latin1"))
            elif part == "test.index":
                _check_index(content, shapes["allx"][0] + 2 * shapes["tx"][0])
            else:
                shapes[part] = _check_table(unpickle(content, {*ARRAYS, CSR}, "latin1"))
        except Exception as error:
            raise ValueError(f"{path.name}: {error}") from error


def _check_table(table: Any) -> tuple[int, int]:
    if type(table) is csr_matrix:
        table.check_format(full_check=True)
        kind = table.data.dtype.kind
    else:
        kind = table.dtype.kind if type(table) is np.ndarray and table.ndim == 2 else "O"
    if kind not in "fiub":
        raise ValueError("must be one table of numbers")
    shape: Any = table.shape
    rows, columns = (int(size) for size in shape)
    if rows < 1 or columns < 1 or rows * columns > LIMIT:
        raise ValueError(f"has shape [{rows}, {columns}]")
    return rows, columns


def _check_graph(graph: Any) -> None:
    nodes: list[Any] = [node for key, row in graph.items() for node in (key, *row)]
    if not all(type(node) is int for node in nodes):
        raise ValueError("must list the neighbours of each node by number")


def _check_index(content: bytes, limit: int) -> None:
    numbers = [int(line) for line in content.split()]
    if not numbers or not all(0 <= number < limit for number in numbers):
        raise ValueError(f"nodes run from 0 to {limit - 1}")
