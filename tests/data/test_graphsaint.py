"""GraphSAINT's layout: read as the graph that it holds, features standardised on the training nodes, damage refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix, save_npz

from hcdc.data import GraphData, graph_splits, load
from hcdc.errors import DataError, FormatError, HcdcError
from tests.cases import graph_tensors

GIVEN = {name: value.numpy() for name, value in graph_tensors().items()}
PARTS = {"tr": "train", "va": "val", "te": "test"}


def write(root: Path, name: str = "reddit") -> Path:
    folder = root / name
    folder.mkdir()
    row, column = GIVEN["edge_index"]
    matrix = coo_matrix((np.ones(row.size, bool), (row, column)), shape=(15, 15)).tocsr()
    save_npz(folder / "adj_full.npz", matrix)
    np.save(folder / "feats.npy", GIVEN["x"].astype(np.float64))
    (folder / "class_map.json").write_text(json.dumps({str(node): int(label) for node, label in enumerate(GIVEN["y"])}))
    (folder / "role.json").write_text(json.dumps({name: np.flatnonzero(GIVEN[part]).tolist() for name, part in PARTS.items()}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


def train(folder: Path) -> GraphData:
    return load(folder.name, folder.parent).splits.train


@pytest.mark.parametrize("name", ["reddit", "flickr"])
def test_the_graph(tmp_path: Path, name: str) -> None:
    source = load(name, write(tmp_path, name).parent)
    for found, expected in zip(source.splits, graph_splits(**graph_tensors()), strict=True):
        assert torch.equal(found.adjacency.dense(), expected.adjacency.dense())
        assert torch.equal(found.y, expected.y)
    assert (source.name, source.kind) == (name, "graph")


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.bool_])
def test_features_are_standardised_on_the_training_nodes(folder: Path, dtype: type) -> None:
    x = (GIVEN["x"] * 10).astype(dtype)
    x[:, 0], x[:, 1] = 1, GIVEN["train"]  # constant everywhere, and among the training nodes
    np.save(folder / "feats.npy", x)
    found, own = train(folder).x, torch.from_numpy(x[GIVEN["train"]].astype(np.float64))
    deviation = own.std(0, correction=0)
    expected = (torch.from_numpy(x.astype(np.float64)) - own.mean(0)) / torch.where(deviation > 0, deviation, 1)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


def test_entries_of_zero_are_no_edges(folder: Path) -> None:
    matrix = coo_matrix(([1.0, 0.0, 2.0, 1.0], ([0, 1, 3, 5], [2, 4, 3, 0])), shape=(15, 15)).tocsr()
    save_npz(folder / "adj_full.npz", matrix)
    assert train(folder).adjacency.coo()[0].tolist() == [[0, 0, 2, 5], [2, 5, 0, 0]]


def npy(array: Any, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **settings)
    return buffer.getvalue()


def npz(**changes: Any) -> bytes:
    fields = {
        "indices": np.array([1, 0]),
        "indptr": np.array([0, 1, 2, *[2] * 13]),
        "data": np.ones(2),
        "shape": np.array([15, 15]),
        "format": b"csr",
    }
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in (fields | changes).items() if value is not None})
    return buffer.getvalue()


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        value = json.loads(content)
        return json.dumps(change(value)).encode()

    return edit


def header(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    assert len(old) == len(new)
    return lambda content: content.replace(old, new)


def always(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


DAMAGED: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "features cut off": ("feats.npy", lambda content: content[:-9], "feats.npy"),
    "no features": ("feats.npy", always(b""), "feats.npy"),
    "pickled features": ("feats.npy", always(npy(np.array([[{}]], object), allow_pickle=True)), "feats.npy"),
    "features of text": ("feats.npy", always(npy(np.array([["a"]]))), "feats.npy"),
    "features of one dimension": ("feats.npy", always(npy(np.ones(15))), "feats.npy"),
    "an archive of features": ("feats.npy", always(npz()), "feats.npy"),
    "features of a size past memory": ("feats.npy", header(b"(15, 5), }" + b" " * 12, b"(15, 5000000000000), }"), "feats.npy"),
    "a header in shreds": ("feats.npy", header(b"(15, 5), }", b"(15, 5),  "), "feats.npy"),
    "matrix cut off": ("adj_full.npz", lambda content: content[:-30], "adj_full.npz"),
    "an array for a matrix": ("adj_full.npz", always(npy(np.ones(3))), "adj_full.npz"),
    "pickled matrix": ("adj_full.npz", always(npz(data=np.array([{}, {}], object))), "adj_full.npz"),
    "matrix without pointers": ("adj_full.npz", always(npz(indptr=None)), "adj_full.npz"),
    "matrix of other columns": ("adj_full.npz", always(npz(indices=np.array([1, 15]))), "adj_full.npz"),
    "matrix of negative columns": ("adj_full.npz", always(npz(indices=np.array([-1, 0]))), "adj_full.npz"),
    "pointers that fall": ("adj_full.npz", always(npz(indptr=np.array([0, 3, 2, *[2] * 13]))), "adj_full.npz"),
    "matrix of text": ("adj_full.npz", always(npz(data=np.array(["a", "b"]))), "adj_full.npz"),
    "other nodes": ("adj_full.npz", always(npz(indptr=np.array([0, 1, 2]), shape=np.array([2, 2]))), "feats.npy has 15 rows"),
    "shape of three": ("adj_full.npz", always(npz(shape=np.array([15, 15, 1]))), "adj_full.npz"),
    "other format": ("adj_full.npz", always(npz(format=b"coo")), "must be csr"),
    "no json": ("class_map.json", always(b"{"), "class_map.json"),
    "deep json": ("class_map.json", always(b"[" * 100_000), "class_map.json"),
    "list of classes": ("class_map.json", always(b"[1, 2]"), "map each of 15 nodes"),
    "node without class": ("class_map.json", edited(lambda map: {k: v for k, v in map.items() if k != "3"}), "map each of 15 nodes"),
    "other node": ("class_map.json", edited(lambda map: {("15" if k == "3" else k): v for k, v in map.items()}), "class_map.json"),
    "class of text": ("class_map.json", edited(lambda map: map | {"3": "a"}), "whole numbers"),
    "class past 64 bits": ("class_map.json", edited(lambda map: map | {"3": 10**30}), "class_map.json"),
    "class that is true": ("class_map.json", edited(lambda map: map | {"3": True}), "whole numbers"),
    "roles in another code": ("role.json", always(b"\xff\xfe\x00"), "role.json"),
    "list of roles": ("role.json", always(b"[]"), "role.json"),
    "role missing": ("role.json", edited(lambda role: {"tr": role["tr"]}), "role.json"),
    "role of text": ("role.json", edited(lambda role: role | {"va": "abc"}), "list of node numbers"),
    "role of fractions": ("role.json", edited(lambda role: role | {"va": [0.5]}), "list of node numbers"),
    "ragged role": ("role.json", edited(lambda role: role | {"va": [[1], [2, 3]]}), "role.json"),
    "role past the nodes": ("role.json", edited(lambda role: role | {"va": [15]}), "nodes run from 0 to 14"),
    "role past 64 bits": ("role.json", edited(lambda role: role | {"va": [10**30]}), "role.json"),
    "role with a node twice": ("role.json", edited(lambda role: role | {"va": role["va"] * 2}), "twice"),
}


@pytest.mark.parametrize(("name", "damage", "said"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files(folder: Path, name: str, damage: Callable[[bytes], bytes], said: str) -> None:
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match=said) as caught:
        train(folder)
    assert str(path) in str(caught.value)


def test_several_labels_a_node_are_refused(folder: Path) -> None:
    (folder / "class_map.json").write_text(json.dumps({str(node): [0, 1, 1] for node in range(15)}))
    with pytest.raises(DataError, match="several labels"):
        train(folder)


RULES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "nodes in two parts": ("role.json", edited(lambda role: role | {"va": role["tr"]}), "train_mask, val_mask, test_mask"),
    "no training": ("role.json", edited(lambda role: role | {"tr": []}), "train_mask"),
    "empty part": ("role.json", edited(lambda role: role | {"te": []}), "test_mask"),
    "negative class": ("class_map.json", edited(lambda map: map | {"3": -1, "0": -1}), "y"),
    "not finite": ("feats.npy", always(npy(np.full((15, 5), np.inf))), "x"),
    "huge": ("feats.npy", always(npy(np.full((15, 5), 1e308) * np.array([[1], [-1], [1]] * 5))), "x"),
}


@pytest.mark.parametrize(("name", "damage", "named"), RULES.values(), ids=RULES)
def test_rules_of_graphs_hold(folder: Path, name: str, damage: Callable[[bytes], bytes], named: str) -> None:
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(DataError) as caught:
        train(folder)
    assert caught.value.argument == named


@pytest.mark.parametrize("name", ["adj_full.npz", "feats.npy", "class_map.json", "role.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FormatError, match=f"{name}: is missing"):
        train(folder)


def test_no_damage_raises_anything_else(folder: Path) -> None:
    """Cut at, and one byte changed at, places all over each file: a graph or an error of ours."""
    refused = 0
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), 17):
            for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
                path.write_bytes(content)
                try:
                    train(folder)
                except HcdcError:
                    refused += 1
        path.write_bytes(whole)
    assert refused > 150


@pytest.mark.parametrize("download", [False, True])
def test_absent(tmp_path: Path, download: bool) -> None:
    """There is no address to fetch from: the error says what goes where."""
    with pytest.raises(DataError, match=r"adj_full.npz, feats.npy, class_map.json, role.json in ") as caught:
        load("flickr", tmp_path, download=download)
    assert str(tmp_path / "flickr") in caught.value.rule
    assert "GraphSAINT" in caught.value.remedy
