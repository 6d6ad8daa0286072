"""OGB's raw layout: read as the graph that it holds, fetched when asked for, refused when damaged."""

from __future__ import annotations

import contextlib
import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc.data import fetch, fingerprint, graph_splits, load, ogb as module
from hcdc.errors import DataError, FormatError, HcdcError
from tests.cases import graph_tensors

PARTS = {"train": "train", "valid": "val", "test": "test"}


def text(table: Tensor) -> str:
    return "".join(",".join(str(value) for value in row) + "\n" for row in table.tolist())


def tables() -> dict[str, str]:
    """`graph_tensors` under the file names of OGB."""
    given = graph_tensors()
    found = {
        "raw/edge": given["edge_index"].T,
        "raw/node-feat": given["x"],
        "raw/node-label": given["y"][:, None],
        "raw/num-node-list": torch.tensor([[15]]),
    }
    found |= {f"split/time/{name}": given[part].nonzero() for name, part in PARTS.items()}
    return {f"{name}.csv.gz": text(table) for name, table in found.items()}


def write(folder: Path) -> Path:
    for name, content in tables().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(content.encode(), mtime=0))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "ogbn_arxiv")


def test_the_graph(folder: Path) -> None:
    before = sorted(folder.parent.rglob("*"))
    source = load("ogbn-arxiv", folder.parent)
    assert source.sha256 == fingerprint(graph_splits(**graph_tensors()))
    assert (source.name, source.kind) == ("ogbn-arxiv", "graph")
    assert sorted(folder.parent.rglob("*")) == before, "wrote beside the data"


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[str], bytes]:
    return lambda content: gzip.compress("".join(change(content.splitlines(keepends=True))).encode())


DAMAGED: dict[str, tuple[str, Callable[[str], bytes], type[HcdcError]]] = {
    "no gzip": ("raw/edge", str.encode, FormatError),
    "nothing": ("raw/edge", lambda _: b"", FormatError),
    "no lines": ("raw/node-feat", lines(lambda _: []), FormatError),
    "cut off": ("raw/node-feat", lambda content: gzip.compress(content.encode())[:-20], FormatError),
    "not ascii": ("raw/node-label", lambda _: gzip.compress(b"\xff\n" * 15), FormatError),
    "a word": ("raw/node-label", lines(lambda rows: ["class\n", *rows[1:]]), FormatError),
    "a fraction": ("raw/node-label", lines(lambda rows: ["0.5\n", *rows[1:]]), FormatError),
    "past 64 bits": ("raw/edge", lines(lambda rows: [f"{10**30},1\n", *rows]), FormatError),
    "ragged": ("raw/edge", lines(lambda rows: ["1,2,3\n", *rows]), FormatError),
    "three columns of edges": ("raw/edge", lines(lambda rows: [row.replace(",", ",0,") for row in rows]), FormatError),
    "a row of features missing": ("raw/node-feat", lines(lambda rows: rows[1:]), FormatError),
    "a label missing": ("raw/node-label", lines(lambda rows: rows[1:]), FormatError),
    "two graphs": ("raw/num-node-list", lines(lambda rows: [*rows, *rows]), FormatError),
    "no nodes": ("raw/num-node-list", lines(lambda _: ["0\n"]), FormatError),
    "too many nodes": ("raw/num-node-list", lines(lambda _: [f"{10**18}\n"]), FormatError),
    "split past the nodes": ("split/time/valid", lines(lambda rows: [*rows, "15\n"]), FormatError),
    "split below the nodes": ("split/time/valid", lines(lambda rows: [*rows, "-1\n"]), FormatError),
    "split with a node twice": ("split/time/train", lines(lambda rows: [*rows, rows[0]]), FormatError),
    "a node in two parts": ("split/time/test", lambda _: gzip.compress(tables()["split/time/train.csv.gz"].encode()), DataError),
    "edge past the nodes": ("raw/edge", lines(lambda rows: [*rows, "0,15\n"]), DataError),
    "no number": ("raw/node-feat", lines(lambda rows: [row.replace(row.split(",")[0], "nan") for row in rows]), DataError),
}


@pytest.mark.parametrize(("name", "damage", "error"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files(folder: Path, name: str, damage: Callable[[str], bytes], error: type[HcdcError]) -> None:
    path = folder / f"{name}.csv.gz"
    path.write_bytes(damage(tables()[f"{name}.csv.gz"]))
    with pytest.raises(error) as caught:
        load("ogbn-arxiv", folder.parent)
    assert error is DataError or str(folder) in str(caught.value)


@pytest.mark.parametrize("name", tables())
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FormatError, match="missing") as caught:
        load("ogbn-arxiv", folder.parent)
    assert str(folder / name) in str(caught.value)


def test_no_damage_gets_past_the_reader(folder: Path) -> None:
    """One byte changed at places all over each file: read, to the same graph, or an error of ours."""
    expected = load("ogbn-arxiv", folder.parent).sha256
    for name in tables():
        whole = (folder / name).read_bytes()
        for place in range(0, len(whole), 11):
            (folder / name).write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            with contextlib.suppress(HcdcError):
                assert load("ogbn-arxiv", folder.parent).sha256 == expected
        (folder / name).write_bytes(whole)


def test_isolated_nodes_loops_and_repetitions(folder: Path) -> None:
    path = folder / "raw" / "edge.csv.gz"
    path.write_bytes(gzip.compress(b"3,1\n3,1\n1,3\n4,4\n0,14\n"))
    adjacency = load("ogbn-arxiv", folder.parent).splits.train.adjacency
    assert adjacency.coo()[0].tolist() == [[0, 1, 3, 14], [14, 3, 1, 0]]


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="add --download"):
        load("ogbn-arxiv", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the archive holds goes to the folder of the data set, and the archive goes."""
    made = write(tmp_path / "made" / "arxiv")
    asked: list[Any] = []

    def give(url: str, path: Path, sha256: str) -> Path:
        asked.append((url, sha256))
        with zipfile.ZipFile(path, "w") as archive:
            for file in made.rglob("*.gz"):
                archive.write(file, file.relative_to(made.parent))
        return path

    assert module.fetch is fetch
    monkeypatch.setattr(module, "fetch", give)
    root = tmp_path / "root"
    root.mkdir()
    for _ in range(2):
        assert load("ogbn-arxiv", root, download=True).sha256 == fingerprint(graph_splits(**graph_tensors()))
    assert asked == [module.OGB["ogbn-arxiv"]]
    assert [file.name for file in root.iterdir()] == ["ogbn_arxiv"]


def test_another_archive_under_the_name(tmp_path: Path) -> None:
    (tmp_path / "ogbn_arxiv.zip").write_bytes(b"not the archive that is known")
    with pytest.raises(FormatError, match="49f85c801589"):
        load("ogbn-arxiv", tmp_path, download=True)
    assert [file.name for file in tmp_path.iterdir()] == ["ogbn_arxiv.zip"]
