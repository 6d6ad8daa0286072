"""Cells of NAS-Bench-201: strings, the official index, isomorphism, what is dead."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from hcdc.data import NasBench201Table
from hcdc.errors import SpaceError
from hcdc.spaces import EDGES, OPS, Cell, all_cells, sample_cells
from tests.cases import needs_data

TEXT = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"


def cell(*ops: str) -> Cell:
    """From the first letters of operations, "3" and "1" for the convolutions."""
    names = {"n": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3", "p": "avg_pool_3x3"}
    return Cell(tuple(names[op] for op in "".join(ops)))


def test_a_string_is_its_edges_in_order() -> None:
    parsed = Cell.parse(TEXT)
    assert parsed.ops == ("avg_pool_3x3", "nor_conv_1x1", "skip_connect", "nor_conv_1x1", "none", "nor_conv_3x3")
    assert str(parsed) == TEXT
    assert EDGES[3:] == ((0, 3), (1, 3), (2, 3))


def test_every_cell_survives_its_string_its_index_and_its_configuration() -> None:
    for index in range(0, 15625, 97):
        one = Cell.at(index)
        assert one.index == index
        assert Cell.parse(str(one)) == one == Cell.of(one.config() | {"smoothing": 0.1})


@pytest.mark.parametrize(("text", "named"), [
    (TEXT.replace("nor_conv_3x3~2", "conv~2"), r"^`edge 2->3` = 'conv': must be one of none.*; choose"),
    (TEXT.replace("skip_connect~1", "skip_connect~0"), r"^`edge 1->2` = 'skip_connect~0': entry 2 of node 2 reads node 1; write skip_connect~1"),
    (TEXT.replace("none~1|", ""), r"^`cell` = .* one, two and three operations; write it as \|op~0\|"),
    (TEXT.replace("~0|+", "|+", 1), r"^`edge 0->1` = 'avg_pool_3x3'"),
    (TEXT.removesuffix("|"), "^`cell` = "), ("", "^`cell` = "), ("+|+", "^`cell` = "),
])  # fmt: skip
def test_an_invalid_string(text: str, named: str) -> None:
    with pytest.raises(SpaceError, match=named):
        Cell.parse(text)


def test_other_cells_that_are_none() -> None:
    with pytest.raises(SpaceError, match=r"`ops` = .* a cell has 6 edges"):
        Cell(("none",))
    with pytest.raises(SpaceError, match="`edge 0->1` = 'None'"):
        Cell.of({})
    strange: list[Any] = [-1, 15625, 3.5, "5", None]
    for index in strange:
        with pytest.raises(SpaceError, match="`index` = "):
            Cell.at(index)
    nothing: Any = None
    with pytest.raises(SpaceError, match="`cell` = "):
        Cell.parse(nothing)


@needs_data
def test_the_index_is_that_of_the_table() -> None:
    """All 15,625 rows."""
    assert [str(one) for one in all_cells()] == NasBench201Table.load().cells()


def test_the_index_starts_as_the_benchmark_does() -> None:
    """The first cells of the table, where the table itself is not at hand."""
    expected = ("p1s1ss", "33ps3s", "p33ppp", "psnnns")
    assert [Cell.at(index) for index in range(4)] == [cell(ops) for ops in expected]
    assert len(set(all_cells())) == 15625


def test_the_numbers_of_classes() -> None:
    """6,466 is the benchmark's own; equal names imply equal functions, so there are fewer of these."""
    assert len({one.canonical() for one in all_cells()}) == 6466
    functions: dict[str, set[str]] = {}
    for one in all_cells():
        functions.setdefault(one.canonical(), set()).add(one.function())
    assert all(len(found) == 1 for found in functions.values())
    assert len(set(itertools.chain(*functions.values()))) == 4930


@pytest.mark.parametrize(("one", "other", "canonical", "function"), [
    ("s3nnn1", "3nsnn1", True, True),    # a convolution into node 2 from the input, or from it through node 1
    ("snn31n", "snn13n", True, True),    # node 1 is the input
    ("1sn3np", "1snpn3", False, True),   # so is node 2, but for an empty term, which the benchmark counts
    ("n1nnn3", "1nnn3n", False, True),   # by node 2 or node 1
    ("31n1sn", "31n1ns", False, False),
    ("3nn3nn", "3nn1nn", False, False),
    ("3nnpsn", "3nns1n", False, False),
])  # fmt: skip
def test_isomorphic_cells(one: str, other: str, canonical: bool, function: bool) -> None:
    a, b = cell(one), cell(other)
    assert (a.canonical() == b.canonical()) == canonical
    assert (a.function() == b.function()) == function


def test_exchanging_the_inner_nodes_changes_no_class() -> None:
    """Wherever no edge joins them."""
    for index in range(0, 15625, 61):
        a = Cell.at(index).ops
        one, other = Cell((a[0], a[1], "none", *a[3:])), Cell((a[1], a[0], "none", a[3], a[5], a[4]))
        assert one.function() == other.function()


@pytest.mark.parametrize(("ops", "live", "zero"), [
    ("nnnnnn", (), {1, 2, 3}), ("333333", (0, 1, 2, 3, 4, 5), set()), ("33nnn3", (1, 5), set()), ("3ns1nn", (3,), set()),
    ("nn3nn1", (2, 5), {1}), ("nnsnp1", (5,), {1, 2}), ("nnsnps", (), {1, 2, 3}), ("nsp3s3", (1, 3, 5), {1}),
])  # fmt: skip
def test_what_is_dead(ops: str, live: tuple[int, ...], zero: set[int]) -> None:
    assert cell(ops).live_edges() == live
    assert cell(ops).zero_nodes() == zero


def test_weights_are_one_hot_in_the_order_of_the_operations() -> None:
    weights = cell("ns13pn").weights()
    assert weights.argmax(1).tolist() == [OPS.index(op) for op in cell("ns13pn").ops] == [0, 1, 2, 3, 4, 0]
    assert weights.sum(1).tolist() == [1.0] * 6


def test_samples() -> None:
    drawn = sample_cells(300, 5)
    assert sample_cells(10, 5) == drawn[:10] != sample_cells(10, 6)
    assert len({one.function() for one in drawn}) == 300
    assert len({one.function() for one in sample_cells(300, 5, distinct=False)}) < 300
    for count in (0, 5000):
        with pytest.raises(SpaceError, match="`count` = "):
            sample_cells(count, 0)
