"""Published pickles: what they may hold, and that nothing in them runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from hcdc.data import load
from hcdc.data.pickles import ARRAYS, unpickle
from hcdc.errors import DataError, FormatError
from torture import seeds

pytest.importorskip("torch_geometric")


class Touch:
    """Runs code when unpickled by an ordinary reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    seeds._planetoid(tmp_path)
    return tmp_path / "planetoid" / "Cora" / "raw"


def test_a_small_planetoid_is_read(raw: Path) -> None:
    splits = load("cora", raw.parents[2]).splits
    assert (splits.train.size, splits.train.num_features, splits.train.num_classes) == (552, 6, 3)


@pytest.mark.parametrize("part", ["x", "ally", "graph"])
def test_a_malicious_planetoid_file_runs_nothing(raw: Path, tmp_path: Path, part: str) -> None:
    (raw / f"ind.cora.{part}").write_bytes(pickle.dumps(Touch(tmp_path / "owned"), protocol=2))
    with pytest.raises(FormatError, match=rf"ind.cora.{part}: posix.mkdir has no place"):
        load("cora", raw.parents[2])
    assert not (tmp_path / "owned").exists()
    pickle.loads((raw / f"ind.cora.{part}").read_bytes())
    assert (tmp_path / "owned").exists(), "the file would have been harmless anyway"


def test_indices_that_point_outside_are_refused(raw: Path) -> None:
    """Made dense as it is, such a matrix is written past its end."""
    content = (raw / "ind.cora.tx").read_bytes()
    table = pickle.loads(content.replace(b"scipy.sparse.csr", b"scipy.sparse._csr"), encoding="latin1")
    table.indices[0] = 10**6
    (raw / "ind.cora.tx").write_bytes(pickle.dumps(table, protocol=2).replace(b"scipy.sparse._csr", b"scipy.sparse.csr"))
    with pytest.raises(FormatError, match=r"ind\.cora\.tx"):
        load("cora", raw.parents[2])


@pytest.mark.parametrize("line", ["10000000000", "-1", "nan", ""])
def test_nodes_to_test_on_that_are_not_there(raw: Path, line: str) -> None:
    (raw / "ind.cora.test.index").write_text(line)
    with pytest.raises(FormatError, match=r"ind\.cora\.test\.index"):
        load("cora", raw.parents[2])


def test_a_place_in_the_memo_past_the_file_is_refused() -> None:
    """Five bytes for which the reader of the standard library makes room for 2^30 entries."""
    with pytest.raises(pickle.UnpicklingError, match="past the end"):
        unpickle(b"\x80\x02K\x01r\xff\xff\xff\x3f.", ARRAYS, "bytes")


def test_an_empty_folder_of_planetoid_holds_nothing(tmp_path: Path) -> None:
    """As a download that never began leaves it."""
    (tmp_path / "planetoid" / "Cora" / "raw").mkdir(parents=True)
    with pytest.raises(DataError, match="--download"):
        load("cora", tmp_path)
