"""The topologies of NAS-Bench-201 (Dong and Yang 2020): cells of four nodes whose six edges hold one of five operations."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from hcdc.errors import SpaceError

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(from, to), in the order in which a cell string names them; node 0 is the input of the cell, node 3 its output."""

CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
_SHUFFLE = 88
"""The seed with which the benchmark shuffled the product of its operations; it makes the order of the official index."""


@dataclass(frozen=True)
class Cell:
    """One topology: `ops` [6], the operation of each of `EDGES`.

    Node j is the sum over its edges (i, j) of op_ij(node i). `str` gives the string of the benchmark, `Cell.parse`
    reads it.
    """

    ops: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(self.ops))
        if len(self.ops) != len(EDGES):
            raise SpaceError("ops", self.ops, f"a cell has {len(EDGES)} edges", "name one operation for each, in the order of EDGES")
        for (i, j), op in zip(EDGES, self.ops, strict=True):
            if op not in OPS:
                raise SpaceError(f"edge {i}->{j}", op, f"must be one of {', '.join(OPS)}", "choose one of these")

    @classmethod
    def parse(cls, text: str) -> Cell:
        """The cell of |op~0|+|op~0|op~1|+|op~0|op~1|op~2|; `SpaceError` names the edge that breaks the rule."""
        nodes = [part.strip() for part in str(text).split("+")]
        entries = [node[1:-1].split("|") if len(node) > 1 and node[0] == node[-1] == "|" else [] for node in nodes]
        if [len(entry) for entry in entries] != [1, 2, 3]:
            raise SpaceError("cell", text, "must have three nodes of one, two and three operations", f"write it as {_FORM}")
        ops: list[str] = []
        for (i, j), entry in zip(EDGES, itertools.chain(*entries), strict=True):
            op, _, source = entry.partition("~")
            if source != str(i):
                raise SpaceError(f"edge {i}->{j}", entry, f"entry {i + 1} of node {j} reads node {i}", f"write {op}~{i}")
            ops.append(op)
        return cls(tuple(ops))

    def __str__(self) -> str:
        entries = [f"{op}~{i}" for (i, _), op in zip(EDGES, self.ops, strict=True)]
        return "+".join(f"|{'|'.join(part)}|" for part in (entries[:1], entries[1:3], entries[3:]))

    @classmethod
    def at(cls, index: int) -> Cell:
        """The cell of an index of the benchmark's table."""
        if index not in range(len(all_cells())):
            raise SpaceError("index", index, f"must be whole and lie between 0 and {len(all_cells()) - 1}", "take an index of the benchmark's table")
        return all_cells()[int(index)]

    @property
    def index(self) -> int:
        """The number of this cell in the benchmark's table."""
        return _indices()[self]

    @classmethod
    def of(cls, config: Mapping[str, object]) -> Cell:
        """The cell of a configuration with axes "op.0" to "op.5"; other axes are ignored."""
        return cls(tuple(str(config.get(f"op.{edge}")) for edge in range(len(EDGES))))

    def config(self) -> dict[str, float | int | str]:
        """The axes "op.0" to "op.5" of this cell."""
        return {f"op.{edge}": op for edge, op in enumerate(self.ops)}

    def weights(self) -> Tensor:
        """One-hot [6, 5] over `OPS`."""
        return torch.eye(len(OPS))[[OPS.index(op) for op in self.ops]]

    @classmethod
    def at_weights(cls, weights: Tensor) -> Cell:
        """The cell of one-hot weights [6, 5]; `SpaceError` for others. Inverse of `weights`."""
        cell = cls(tuple(OPS[int(option)] for option in weights.argmax(-1)))
        if not torch.equal(weights.to(cell.weights()), cell.weights()):
            raise SpaceError("op", weights.tolist(), "must be one-hot, one operation for each edge", "round it to a configuration")
        return cell

    def canonical(self) -> str:
        """The benchmark's name of the isomorphism class of this cell (Dong and Yang 2020, Section 2.1): 6,466 classes.

        The output as an expression of the input 0: skips vanish, the terms of a sum are sorted and what is made of
        nothing is "#". A "#" stays in its sum and a sum read through a skip stays one term, so that some cells that
        compute the same have two names; `function` has one for them.
        """
        return self._expression(False)

    def function(self) -> str:
        """As `canonical`, with zeros dropped and sums of sums made one: equal wherever two cells compute the same up to
        the names of their parameters, 4,930 classes.

        Neither expression tells one convolution that is read twice from two convolutions.
        """
        return self._expression(True)

    def _expression(self, flat: bool) -> str:
        nodes: list[list[str]] = [["0"]]
        for j in range(1, 4):
            terms: list[str] = []
            for (i, to), op in zip(EDGES, self.ops, strict=True):
                if to != j:
                    continue
                value = "+".join(nodes[i])
                if op == "none" or value == "#":
                    terms.append("#")
                elif op == "skip_connect":
                    terms.extend(nodes[i] if flat else [value])
                else:
                    terms.append(f"({value})@{op}")
            kept = [term for term in terms if term != "#"] or ["#"]
            nodes.append(sorted(kept if flat else terms))
        return "+".join(nodes[3])

    def zero_nodes(self) -> frozenset[int]:
        """Nodes that are 0 whatever the input and the parameters: nothing reaches them, not even the shift of a
        convolution's norm."""
        zero: set[int] = set()
        for j in range(1, 4):
            into = [(i, op) for (i, to), op in zip(EDGES, self.ops, strict=True) if to == j]
            if all(op == "none" or (i in zero and op not in CONVOLUTIONS) for i, op in into):
                zero.add(j)
        return frozenset(zero)

    def live_edges(self) -> tuple[int, ...]:
        """Positions in `EDGES` of the edges on which the output depends."""
        reaches, zero = {3}, self.zero_nodes()
        for (i, j), op in reversed(list(zip(EDGES, self.ops, strict=True))):
            if op != "none" and j in reaches:
                reaches.add(i)
        carries = [op in CONVOLUTIONS or (op != "none" and i not in zero) for (i, _), op in zip(EDGES, self.ops, strict=True)]
        return tuple(edge for edge, (_, j) in enumerate(EDGES) if j in reaches and carries[edge])


@cache
def all_cells() -> tuple[Cell, ...]:
    """All 15,625 cells in the order of the official index: the product of `OPS` over `EDGES`, shuffled with Python's
    generator seeded by 88."""
    everything = [Cell(ops) for ops in itertools.product(OPS, repeat=len(EDGES))]
    random.Random(_SHUFFLE).shuffle(everything)
    return tuple(everything)


@cache
def _indices() -> dict[Cell, int]:
    return {cell: index for index, cell in enumerate(all_cells())}


def sample_cells(count: int, seed: int, *, distinct: bool = True) -> list[Cell]:
    """`count` cells drawn uniformly without replacement; `distinct` keeps the first alone of those that compute the same
    function (`Cell.function`)."""
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Cell] = []
    met: set[str] = set()
    for index in torch.randperm(len(all_cells()), generator=generator).tolist():
        if len(drawn) == count:
            break
        cell = all_cells()[index]
        if not distinct or cell.function() not in met:
            drawn.append(cell)
            met.add(cell.function())
    if count < 1 or len(drawn) < count:
        raise SpaceError(
            "count", count, f"must be at least 1 and at most the number of cells{' that differ' if distinct else ''}", "ask for fewer, or for one"
        )
    return drawn
