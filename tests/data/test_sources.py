"""Loaders: the public datasets as they are known, .npz files whole and broken, graphs of PyTorch Geometric."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hcdc.data import GraphData, Sparse, fingerprint, from_pyg, graph_splits, load
from hcdc.errors import DataError, FormatError, HcdcError
from tests.cases import DATA, graph_tensors, needs_data

FIELDS = {"train": "train_mask", "val": "val_mask", "test": "test_mask"}


def same(one: GraphData, two: GraphData) -> bool:
    dense = [value.dense() if isinstance(value, Sparse) else value for data in (one, two) for value in (data.x, data.adjacency, data.y)]
    return all(torch.equal(a, b) for a, b in zip(dense[:3], dense[3:], strict=True)) and one.num_classes == two.num_classes


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """`graph_tensors` under the names of an .npz."""
    return {FIELDS.get(name, name): value.numpy() for name, value in graph_tensors().items()} | changes


def csr(values: bool = True) -> dict[str, np.ndarray]:
    """The same with the features as CSR, in the narrow integers that files use."""
    fields = arrays()
    x = torch.from_numpy(fields.pop("x")).to_sparse_csr()
    fields |= {"x_indptr": x.crow_indices().numpy().astype(np.int32), "x_indices": x.col_indices().numpy().astype(np.int16)}
    return fields | {"x_shape": np.array(x.shape)} | ({"x_data": x.values().numpy()} if values else {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "graph.npz"


def test_npz_round_trip(file: Path) -> None:
    np.savez(file, **arrays())
    source = load(file)
    for found, expected in zip(source.splits, graph_splits(**graph_tensors()), strict=True):
        assert same(found, expected)
    assert (source.name, source.kind) == (str(file), "graph")


def test_npz_with_sparse_features(file: Path) -> None:
    np.savez_compressed(file, **csr())
    train = load(str(file)).splits.train
    assert isinstance(train.x, Sparse)
    assert same(train, graph_splits(**graph_tensors()).train)


def test_csr_in_any_order_with_repetitions(file: Path) -> None:
    fields = csr()
    for start, end in zip(fields["x_indptr"][:-1], fields["x_indptr"][1:], strict=True):
        for name in ("x_indices", "x_data"):
            fields[name][start:end] = fields[name][start:end][::-1].copy()
    first = fields["x_indptr"][1]
    fields["x_data"] = np.concatenate([fields["x_data"][:first], [1.5], fields["x_data"][first:]]).astype(np.float32)
    fields["x_indices"] = np.concatenate([fields["x_indices"][:first], fields["x_indices"][:1], fields["x_indices"][first:]])
    added = int(fields["x_indices"][0])
    fields["x_indptr"] = fields["x_indptr"] + (np.arange(fields["x_indptr"].size) > 0)
    np.savez(file, **fields)
    expected = torch.from_numpy(arrays()["x"]).clone()
    expected[0, added] += 1.5
    torch.testing.assert_close(load(file).splits.train.x.dense(), expected)


def test_bags_of_words_become_shares(file: Path) -> None:
    """As Planetoid's are: rows that sum to 1, and one without words stays empty."""
    words = csr() | {"x_data": np.abs(csr()["x_data"])}
    start, end = words["x_indptr"][:2]
    words["x_data"][start:end] = 0
    for fields, dense in ((words, words["x_data"]), (csr(values=False), np.ones(csr()["x_indices"].size, np.float32))):
        np.savez(file, **fields)
        expected = torch.sparse_csr_tensor(*(torch.from_numpy(csr()[name].astype(np.int64)) for name in ("x_indptr", "x_indices")),
                                           torch.from_numpy(dense), tuple(csr()["x_shape"])).to_dense()  # fmt: skip
        found = load(file).splits.train.x.dense()
        torch.testing.assert_close(found, expected / expected.sum(1, keepdim=True).clamp_min(1e-9))
    assert found.sum(1).allclose(torch.ones(len(found)))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8])
def test_npz_of_narrow_integers(file: Path, dtype: type) -> None:
    given = arrays()
    narrow = {"edge_index": given["edge_index"].astype(dtype), "y": given["y"].astype(dtype), "train_mask": given["train_mask"].astype(dtype)}
    np.savez(file, **(given | narrow))
    assert same(load(file).splits.train, graph_splits(**graph_tensors()).train)


UNFIT = {
    "edges with weights": (arrays(edge_weight=np.full(arrays()["edge_index"].shape[1], 0.5)), "edges of a real graph have no weights"),
    "classes from 1": (arrays(y=arrays()["y"] + 1), "count the classes from 0"),
}


@pytest.mark.parametrize(("fields", "said"), UNFIT.values(), ids=UNFIT)
def test_graphs_that_cannot_be_condensed(file: Path, fields: dict[str, np.ndarray], said: str) -> None:
    np.savez(file, **fields)
    with pytest.raises(DataError, match=said):
        load(file)


def test_weights_of_one_are_none(file: Path) -> None:
    np.savez(file, **arrays(edge_weight=np.ones(arrays()["edge_index"].shape[1])))
    assert same(load(file).splits.train, graph_splits(**graph_tensors()).train)


def pickled() -> dict[str, np.ndarray]:
    return arrays(y=np.array([{}] * 15, dtype=object))


BROKEN = {
    "field missing": ({k: v for k, v in arrays().items() if k != "val_mask"}, "val_mask"),
    "no features": ({k: v for k, v in arrays().items() if k != "x"}, "x_indptr"),
    "text": (arrays(y=np.array(["a"] * 15)), "wrong type"),
    "labels of fractions": (arrays(y=arrays()["y"] + 0.5), "`y` has type float64"),
    "edges of fractions": (arrays(edge_index=arrays()["edge_index"] + 0.5), "`edge_index` has type float64"),
    "complex features": (arrays(x=arrays()["x"] + 1j), "`x` has type complex"),
    "infinite shape": (csr() | {"x_shape": np.array([np.inf, 5])}, "`x_shape` has type float64"),
    "columns past memory": (csr() | {"x_shape": np.array([15, 2**40])}, "1099511627776 columns"),
    "pickled objects": (pickled(), "something else, which is not unpickled"),
    "shape of three": (csr() | {"x_shape": np.array([15, 5, 1])}, "wrong type or shape"),
    "column out of range": (csr() | {"x_indices": csr()["x_indices"] + 1}, "wrong type or shape"),
    "pointers too short": (csr() | {"x_indptr": csr()["x_indptr"][:-1]}, "wrong type or shape"),
}


@pytest.mark.parametrize(("fields", "named"), BROKEN.values(), ids=BROKEN)
def test_broken_npz(file: Path, fields: dict[str, np.ndarray], named: str) -> None:
    np.savez(file, **fields)
    with pytest.raises(FormatError, match=named) as caught:
        load(file)
    assert str(file) in str(caught.value)


def test_a_label_past_all_nodes_is_refused_at_once(file: Path) -> None:
    """Not after a list of 2^40 classes was made."""
    np.savez(file, **arrays(y=arrays()["y"] + np.eye(1, 15, dtype=np.int64)[0] * 2**40))
    with pytest.raises(DataError, match=r"^`y` = .*classes.*there are 15 nodes"):
        load(file)


def test_a_member_that_is_no_array(file: Path) -> None:
    """numpy hands out its bytes."""
    np.savez(file, **{name: value for name, value in arrays().items() if name != "y"})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("y.npy", b"no array")
    with pytest.raises(FormatError, match="`y` has type"):
        load(file)


def test_rules_of_graphs_hold_for_npz(file: Path) -> None:
    np.savez(file, **arrays(y=arrays()["y"].reshape(15, 1)))
    with pytest.raises(DataError, match=r"^`y` = "):
        load(file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not an archive"], ids=["empty", "header", "text"])
def test_no_archive(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(FormatError):
        load(file)


def test_a_single_array_is_no_archive(file: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    file.write_bytes(buffer.getvalue())
    with pytest.raises(FormatError):
        load(file)


def test_an_encrypted_archive(file: Path) -> None:
    """The flag of the first entry of the central directory."""
    np.savez(file, **arrays())
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    with pytest.raises(FormatError, match="encrypted"):
        load(file)


def test_no_damage_gets_past_the_reader(file: Path) -> None:
    """Cut at, and one byte changed at, places all over the file: read as before, or an error of ours."""
    np.savez_compressed(file, **arrays())
    whole = file.read_bytes()
    expected, refused = fingerprint(load(file).splits), 0
    for place in range(0, len(whole), 23):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            file.write_bytes(content)
            try:
                assert load(file).sha256 == expected
            except HcdcError:
                refused += 1
    assert refused > len(whole) // 23


def test_a_graph_below_the_root_goes_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    np.savez(tmp_path / "graphs" / "mine.npz", **arrays())
    assert load("mine", tmp_path).sha256 == load(tmp_path / "graphs" / "mine.npz").sha256
    for name in ("graphs/mine", "../graphs/mine", "mine\0", "m" * 300):
        with pytest.raises(DataError, match="must be one of"):
            load(name, tmp_path)


def test_absent_files_and_unknown_names(file: Path) -> None:
    with pytest.raises(DataError, match="exists"):
        load(file)
    with pytest.raises(DataError, match=r"coraa.*cora, citeseer, pubmed, .*flickr, digits, cifar10, cifar100, .*diabetes, synthetic:sbm"):
        load("coraa")


def test_fingerprint_sees_every_part() -> None:
    splits = graph_splits(**graph_tensors())
    prints = {fingerprint(splits), fingerprint(graph_splits(**graph_tensors(seed=1)))}
    for name, part in splits._asdict().items():
        prints.add(fingerprint(splits._replace(**{name: part.replace(y=part.y + 1)})))
        prints.add(fingerprint(splits._replace(**{name: part.replace(x=part.x * 2)})))
    assert len(prints) == 8
    assert fingerprint(splits) == fingerprint(graph_splits(**graph_tensors()))


def test_a_matrix_that_parts_share_is_unfolded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    splits, made = graph_splits(**graph_tensors()), []
    unfold = torch.repeat_interleave
    monkeypatch.setattr(torch, "repeat_interleave", lambda counts: made.append(1) or unfold(counts))
    fingerprint(splits)
    assert len(made) == 1


def pyg(**changes: Any) -> Any:
    from torch_geometric.data import Data

    return Data(**({FIELDS.get(name, name): value for name, value in graph_tensors().items()} | changes))


def test_from_pyg() -> None:
    pytest.importorskip("torch_geometric")
    for found, expected in zip(from_pyg(pyg()), graph_splits(**graph_tensors()), strict=True):
        assert same(found, expected)


def test_from_pyg_keeps_rare_features_sparse() -> None:
    pytest.importorskip("torch_geometric")
    x = torch.eye(15)
    train = from_pyg(pyg(x=x)).train
    assert isinstance(train.x, Sparse)
    assert torch.equal(train.x.dense(), x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
def test_from_pyg_takes_features_of_any_type(dtype: torch.dtype) -> None:
    """numpy's default is float64 and counts are integers; the models are float32."""
    pytest.importorskip("torch_geometric")
    x = torch.arange(15 * 5).reshape(15, 5).to(dtype)
    train = from_pyg(pyg(x=x)).train
    assert train.x.dtype == torch.float32
    assert torch.equal(train.x, x.float())


@pytest.mark.parametrize("field", ["x", "edge_index", "y", "train_mask", "val_mask", "test_mask"])
def test_from_pyg_names_a_missing_field(field: str) -> None:
    pytest.importorskip("torch_geometric")
    with pytest.raises(DataError, match=f"no `{field}`"):
        from_pyg(pyg(**{field: None}))


@pytest.mark.parametrize("changes", [{"x": torch.ones(15)}, {"y": torch.zeros(15, 1, dtype=torch.long)}], ids=["x", "y"])
def test_from_pyg_checks_shapes(changes: dict[str, torch.Tensor]) -> None:
    pytest.importorskip("torch_geometric")
    with pytest.raises(DataError, match=f"^`{next(iter(changes))}` = "):
        from_pyg(pyg(**changes))


SIZES = {"cora": (2708, 1433, 7, 5278, 140, 500, 1000), "citeseer": (3327, 3703, 6, 4552, 120, 500, 1000)}
"""Nodes, features, classes, undirected edges without self-loops, and the public split."""


@needs_data
@pytest.mark.parametrize(("name", "sizes"), SIZES.items(), ids=SIZES)
def test_planetoid(name: str, sizes: tuple[int, ...]) -> None:
    pytest.importorskip("torch_geometric")
    before = sorted(Path(str(DATA), "planetoid").rglob("*"))
    splits = load(name, DATA).splits
    train = splits.train
    assert isinstance(train.x, Sparse)
    assert isinstance(train.adjacency, Sparse)
    assert sizes[:4] == (train.size, train.num_features, train.num_classes, train.adjacency.nnz // 2)
    assert tuple(part.nodes.numel() for part in splits) == sizes[4:]
    assert torch.bincount(train.labels()).tolist() == [20] * train.num_classes
    sums = train.x @ torch.ones(train.num_features, 1)
    torch.testing.assert_close(sums[sums > 0], torch.ones_like(sums[sums > 0]))
    assert sorted(Path(str(DATA), "planetoid").rglob("*")) == before, "wrote beside the data"


@needs_data
def test_planetoid_files_that_are_broken(tmp_path: Path) -> None:
    pytest.importorskip("torch_geometric")
    raw = tmp_path / "planetoid" / "Cora" / "raw"
    raw.mkdir(parents=True)
    for file in Path(str(DATA), "planetoid", "Cora", "raw").iterdir():
        (raw / file.name).write_bytes(file.read_bytes())
    (raw / "ind.cora.tx").write_bytes(b"\x80\x02")
    with pytest.raises(FormatError, match="not the Planetoid files of cora"):
        load("cora", tmp_path)


def test_nothing_is_fetched_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_geometric")

    def refuse(*arguments: object) -> None:
        raise OSError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with pytest.raises(DataError, match="add --download"):
        load("cora", tmp_path)
    with pytest.raises(DataError, match="could not be fetched"):
        load("cora", tmp_path, download=True)


def test_the_root_is_the_argument_then_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCDC_DATA", str(tmp_path / "environment"))
    with pytest.raises(DataError, match="environment"):
        load("cifar10")
    with pytest.raises(DataError, match="argument"):
        load("cifar10", tmp_path / "argument")


def test_digits() -> None:
    pytest.importorskip("sklearn")
    source = load("digits")
    assert (source.kind, [part.size for part in source.splits]) == ("images", [1000, 397, 400])
    assert source.splits.train.shape == (1, 8, 8)
    assert source.splits.train.num_classes == 10
    whole = torch.cat([part.x for part in source.splits])
    assert (float(whole.min()), float(whole.max())) == (-1, 1)
    assert load("digits").sha256 == source.sha256
