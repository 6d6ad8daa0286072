"""The whole files that `torture.fuzz` damages, and what reads them."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, save_npz

from hcdc.cli import answers, artefacts
from hcdc.condense import condense, recipes_of
from hcdc.data import cifar, load
from hcdc.store import Card, Checkpoint, DataCard, load_condensed
from tests import small
from torture.damage import BYTES, Target, tree


def targets() -> list[Target]:
    every = (*BYTES, tree)
    cifar.LAYOUTS["cifar10"] = replace(cifar.LAYOUTS["cifar10"], files=dict.fromkeys(cifar.LAYOUTS["cifar10"].files, 4))
    return [
        Target("card", _artefact, _open_artefact, every, "card.json"),
        Target("signed-card", _artefact, _open_artefact, (tree,), "card.json", _sign_card),
        Target("signed-images", _images, _open_artefact, (tree,), "card.json", _sign_card),
        Target("signed-tensors", _artefact, _open_artefact, (*BYTES, _header), "data.safetensors", _sign_tensors),
        Target("checkpoint", _checkpoint, lambda folder: Checkpoint(folder).load() and None, every, "*", _sign_groups),
        Target("facts", _facts, _open_facts, every, "[!cd]*"),
        Target("npz", lambda folder: np.savez(folder / "graph.npz", **_arrays()), _open("graph.npz")),
        Target("npz-packed", lambda folder: np.savez_compressed(folder / "graph.npz", **_csr()), _open("graph.npz")),
        Target("npz-fields", _fields, _open_fields),
        Target("cifar10", _cifar, lambda folder: cifar.read_cifar("cifar10", folder) and None),
        Target("planetoid", _planetoid, lambda folder: load("cora", folder) and None),
        Target("ogbn-arxiv", _ogb, lambda folder: load("ogbn-arxiv", folder) and None),
        Target("flickr", _saint, lambda folder: load("flickr", folder) and None, every),
    ]


def _open(name: str) -> Callable[[Path], None]:
    return lambda folder: load(folder / name) and None


# Artefacts -----------------------------------------------------------------------------------------------------------


def _artefact(folder: Path) -> None:
    card = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)
    condense(small.METHODS["random"], small.task(), card).save(folder)


def _images(folder: Path) -> None:
    card = DataCard(name="small", sha256="0" * 64, kind="images", num_classes=3)
    condense(small.METHODS["random"], small.task(small.images()), card).save(folder)


def _open_artefact(folder: Path) -> None:
    _say(artefacts.show(folder))
    recipes_of(load_condensed(folder))


def _say(answer: answers.Answer) -> None:
    """What the command line prints, both ways."""
    json.dumps(answer.facts, allow_nan=False)
    assert all(isinstance(line, str) for line in answer.lines)


def _sign_card(draw: random.Random, folder: Path) -> None:
    """The checksum that the card should have, so that what lies behind it is reached."""
    path = folder / "card.json"
    try:
        card = Card.model_validate(json.loads(path.read_bytes()))
        path.write_text(json.dumps(card.model_copy(update={"checksum": card.signature()}).model_dump()))
    except ValueError:
        return


def _sign_tensors(draw: random.Random, folder: Path) -> None:
    path, tensors = folder / "card.json", (folder / "data.safetensors").read_bytes()
    card = Card.model_validate(json.loads(path.read_bytes())).model_copy(update={"tensors_sha256": hashlib.sha256(tensors).hexdigest()})
    path.write_text(json.dumps(card.model_copy(update={"checksum": card.signature()}).model_dump()))


def _header(draw: random.Random, content: bytes) -> bytes:
    """A safetensors file whose header is another tree, its length put right."""
    size = int.from_bytes(content[:8], "little")
    header = tree(draw, content[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _checkpoint(folder: Path) -> None:
    groups = {"val": {"x": torch.ones(3, 2), "y": torch.arange(3)}, "moments": {}, "bank/0": {"t": torch.zeros(4)}}
    Checkpoint(folder).save(3, groups, {"identity": {"seed": 1}, "seconds": 1.5, "history": [{"step": 1.0}]})


def _sign_groups(draw: random.Random, folder: Path) -> None:
    """In half of the cases the manifest is given the hashes of the files as they are."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        for entry in manifest["groups"].values() if draw.random() < 0.5 else ():
            entry["sha256"] = hashlib.sha256((folder / Path(entry["file"]).name).read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
    except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError):
        return


def _facts(folder: Path) -> None:
    """What evaluate and search leave beside an artefact."""
    _artefact(folder)
    correlations = ("spearman_loss", "spearman_accuracy", "spearman_top_half_loss", "spearman_top_half_accuracy", "ceiling_loss")
    others = ("floor_strong_loss", "floor_random_loss", "picked_test_accuracy", "best_test_accuracy", "regret_top5")
    seconds = ("seconds_condense", "seconds_search_condensed", "seconds_search_full")
    facts = dict.fromkeys((*correlations, *others, *seconds), 0.75) | {"ci95": [0.5, 0.875], "configs": 12, "seeds": 2, "nodes": 9}
    facts |= {"break_even_configs": 3, "verdict": "amber", "sentence": "It holds."}
    (folder / "evaluation.json").write_text(json.dumps(facts))
    trials = [{"config": {"filter.0": 0.5, "op": "skip"}, "score": 0.25, "seconds": 0.125}] * 2
    (folder / "search-random.json").write_text(json.dumps({"algorithm": "random", "all": trials}))


def _open_facts(folder: Path) -> None:
    shown = artefacts.show(folder)
    _say(shown)
    artefacts.searches_of(folder, shown.facts["tensors_sha256"])


# Data ----------------------------------------------------------------------------------------------------------------


def _arrays() -> dict[str, Any]:
    return small.arrays(n=30, features=4)


def _csr() -> dict[str, Any]:
    fields = _arrays()
    x = csr_matrix(fields.pop("x"))
    return fields | {"x_indptr": x.indptr, "x_indices": x.indices, "x_data": x.data, "x_shape": np.array(x.shape)}


def _fields(folder: Path) -> None:
    """Each field as a file of its own, so that damage is not caught by the check sums of the archive."""
    for name, value in _csr().items():
        np.save(folder / f"{name}.npy", value)


def _open_fields(folder: Path) -> None:
    import zipfile

    with zipfile.ZipFile(folder / "graph.npz", "w") as archive:
        for path in sorted(folder.glob("*.npy")):
            archive.write(path, path.name)
    try:
        load(folder / "graph.npz")
    finally:
        (folder / "graph.npz").unlink()


def _cifar(folder: Path) -> None:
    (folder / "cifar-10-batches-py").mkdir()
    for number, name in enumerate(cifar.LAYOUTS["cifar10"].files):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 3072), dtype=np.uint8)
        content = {b"labels": [0, 1, 2, 3], b"data": pixels, b"batch_label": b"a batch"}
        (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol=2))


def _planetoid(folder: Path) -> None:
    """Cora's layout with 12 training nodes, 520 more, and 20 to test on."""
    raw = folder / "planetoid" / "Cora" / "raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    x = csr_matrix((draw.random((552, 6)) < 0.3).astype(np.float32))
    y = np.eye(3, dtype=np.int32)[np.arange(552) % 3]
    graph: defaultdict[int, list[int]] = defaultdict(list, {node: [(node + 1) % 552, (node + 7) % 552] for node in range(552)})
    parts: dict[str, Any] = {"x": x[:12], "allx": x[:532], "tx": x[532:], "y": y[:12], "ally": y[:532], "ty": y[532:], "graph": graph}
    for name, value in parts.items():
        content = pickle.dumps(value, protocol=2).replace(b"scipy.sparse._csr", b"scipy.sparse.csr")
        (raw / f"ind.cora.{name}").write_bytes(content)
    (raw / "ind.cora.test.index").write_text("".join(f"{node}\n" for node in range(532, 552)))


def _ogb(folder: Path) -> None:
    given = _arrays()
    tables: dict[str, Any] = {"raw/edge": given["edge_index"].T, "raw/node-feat": given["x"], "raw/node-label": given["y"][:, None]}
    tables |= {"raw/num-node-list": [[30]]}
    for name, part in (("train", "train"), ("valid", "val"), ("test", "test")):
        tables[f"split/time/{name}"] = np.flatnonzero(given[f"{part}_mask"])[:, None]
    for name, table in tables.items():
        path = folder / "ogbn_arxiv" / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(",".join(str(value) for value in row) + "\n" for row in np.asarray(table).tolist())
        path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _saint(folder: Path) -> None:
    given, flickr = _arrays(), folder / "flickr"
    flickr.mkdir()
    row, column = given["edge_index"]
    save_npz(flickr / "adj_full.npz", csr_matrix((np.ones(row.size), (row, column)), shape=(30, 30)), compressed=False)
    np.save(flickr / "feats.npy", given["x"].astype(np.float64))
    (flickr / "class_map.json").write_text(json.dumps({str(node): int(label) for node, label in enumerate(given["y"])}))
    roles = {"tr": "train", "va": "val", "te": "test"}
    (flickr / "role.json").write_text(json.dumps({name: np.flatnonzero(given[f"{part}_mask"]).tolist() for name, part in roles.items()}))
