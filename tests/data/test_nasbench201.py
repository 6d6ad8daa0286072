"""The tables of NAS-Bench-201: small ones in their layout, and the real."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
import torch

from hcdc.data import NasBench201Table
from hcdc.data.nasbench201 import ACCURACIES, SCORES
from hcdc.errors import DataError, FormatError
from tests.cases import needs_data

FILES = {
    ACCURACIES: "index,arch_str,c10_test_200ep,c10_test_12ep\n0,|a~0|,85.5,60\n1,|b~0|,93.25,70.5\n2,|c~0|,10,10\n",
    SCORES: 'net,net_str,params,flops\n"(4, 0)",|b~0|,0.1,19.5\n"(0, 1)",|a~0|,0.2,7\n',
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "nasbench201").mkdir()
    for name, text in FILES.items():
        (tmp_path / "nasbench201" / name).write_bytes(lzma.compress(text.encode()))
    return tmp_path


def test_columns(root: Path) -> None:
    table = NasBench201Table.load(root)
    assert (table.cells(), table.scored()) == (["|a~0|", "|b~0|", "|c~0|"], ["|b~0|", "|a~0|"])
    assert table.accuracy(["|b~0|", "|a~0|"]).tolist() == [93.25, 85.5]
    assert table.accuracy(["|b~0|"], "c10_test_12ep").dtype == torch.float64
    assert table.score(["|a~0|", "|b~0|"], "flops").tolist() == [7, 19.5]
    assert table.accuracy("|b~0|").tolist() == [93.25]
    assert table.accuracy([]).shape == (0,)


def test_what_is_not_in_a_table(root: Path) -> None:
    table = NasBench201Table.load(root)
    with pytest.raises(DataError, match="`column` = 'flops': must be one of c10_test_200ep, c10_test_12ep; choose"):
        table.accuracy(["|a~0|"], "flops")
    with pytest.raises(DataError, match=r"`column` = 'net': must be one of params, flops"):
        table.score([], "net")
    with pytest.raises(DataError, match=r"`cells` = '\|c~0\|': is not among the 2 cells"):
        table.score(["|b~0|", "|c~0|"], "params")


def test_a_folder_and_files_that_are_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`root` = .*needs nb201_accuracies.csv.xz and .*HCDC_DATA"):
        NasBench201Table.load(tmp_path / "elsewhere")
    (root / "nasbench201" / SCORES).unlink()
    with pytest.raises(FormatError, match=f"{SCORES}: is missing"):
        NasBench201Table.load(root)


WHOLE = lzma.compress(FILES[SCORES].encode())


@pytest.mark.parametrize("content", [
    b"", WHOLE[:-20], b"net,net_str\n", lzma.compress(b""), lzma.compress(b"a,b\n1,2\n"), lzma.compress(b"net,net_str,params\n0,|a~0|,x\n"),
    lzma.compress(b"net,net_str,params\n0,|a~0|\n"), lzma.compress(b"net,net_str,params\n0,|a~0|,1\n1,|a~0|,2\n"), 
    lzma.compress(b"\xff\xfe,net_str\n"),
], ids=["empty", "truncated", "plain text", "no rows", "no cells", "no number", "short row", "a cell twice", "no text"])  # fmt: skip
def test_damaged_tables(root: Path, content: bytes) -> None:
    (root / "nasbench201" / SCORES).write_bytes(content)
    with pytest.raises(FormatError, match=SCORES):
        NasBench201Table.load(root)


@needs_data
def test_the_real_tables() -> None:
    """The best accuracy on CIFAR-10 that is known from the literature, and that of guessing."""
    table = NasBench201Table.load()
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    accuracy = table.accuracy(table.cells())
    assert (len(accuracy), len(table.scored())) == (15625, 9445)
    assert table.cells()[int(accuracy.argmax())] == best
    assert float(accuracy.max()) == pytest.approx(94.37, abs=0.01)
    assert float(accuracy.min()) == pytest.approx(10.0)
