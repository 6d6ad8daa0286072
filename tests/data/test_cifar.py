"""CIFAR files in the official layout, whole, damaged and malicious; small ones stand for the real."""

from __future__ import annotations

import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hcdc.data import load
from hcdc.data.cifar import LAYOUTS, read_cifar
from hcdc.errors import DataError, FormatError

N = 20
SMALL = {"cifar10": dict.fromkeys(LAYOUTS["cifar10"].files, N), "cifar100": {"train": 10 * N, "test": 2 * N}}
"""Images a file."""


def official(data: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 and the numpy of 2009 pickled it, opcode by opcode: byte strings, protocol 2."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    body = data.tobytes()
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + integer(-1) * 2 + b"K\x00tb"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    shape = integer(data.shape[0]) + integer(data.shape[1]) + b"\x86"
    state = b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(body)) + body + b"tb"
    listed = b"](" + b"".join(integer(label) for label in labels) + b"e"
    fields = text(b"batch_label") + text(b"a batch") + text(b"labels") + listed + text(b"data") + made + state
    return b"\x80\x02}(" + fields + b"u."


def batch(number: int) -> tuple[np.ndarray, list[int]]:
    pixels = np.random.default_rng(number).integers(0, 256, (N, 3072), dtype=np.uint8)
    return pixels, [(number + i) % 10 for i in range(N)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(LAYOUTS, "cifar10", replace(LAYOUTS["cifar10"], files=SMALL["cifar10"]))
    made = tmp_path / "cifar-10-batches-py"
    made.mkdir()
    for number, name in enumerate(SMALL["cifar10"]):
        (made / name).write_bytes(official(*batch(number)))
    return made


def test_official_layout(folder: Path) -> None:
    x, y = read_cifar("cifar10", folder.parent)
    assert (x.shape, x.dtype, y.dtype) == ((6 * N, 3, 32, 32), torch.float32, torch.int64)
    for number in range(6):
        pixels, labels = batch(number)
        part = slice(number * N, (number + 1) * N)
        assert y[part].tolist() == labels
        found = x[part]
        corners = torch.stack([found[:, 0, 0, 0], found[:, 0, 0, 1], found[:, 0, 1, 0], found[:, 1, 0, 0]], 1)
        torch.testing.assert_close(corners, torch.from_numpy(pixels[:, [0, 1, 32, 1024]]).float() / 255)


def test_the_folder_itself_may_be_named(folder: Path) -> None:
    assert torch.equal(read_cifar("cifar10", folder)[1], read_cifar("cifar10", folder.parent)[1])


def test_splits(folder: Path) -> None:
    """Four batches train, the fifth validates, the last tests; scaled by the training images alone."""
    source = load("cifar10", folder.parent)
    x, y = read_cifar("cifar10", folder)
    assert [part.size for part in source.splits] == [4 * N, N, N]
    for part, piece in zip(source.splits, (slice(0, 4 * N), slice(4 * N, 5 * N), slice(5 * N, 6 * N)), strict=True):
        assert torch.equal(part.y, y[piece])
    train = source.splits.train.x
    torch.testing.assert_close(train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std((0, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)
    mean, deviation = x[: 4 * N].mean((0, 2, 3)), x[: 4 * N].std((0, 2, 3))
    torch.testing.assert_close(source.splits.test.x[:, 1], (x[5 * N :, 1] - mean[1]) / deviation[1])
    assert (source.kind, source.splits.train.num_classes) == ("images", 10)


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file to train on and one to test; the classes are the hundred fine ones."""
    monkeypatch.setitem(LAYOUTS, "cifar100", replace(LAYOUTS["cifar100"], files=SMALL["cifar100"]))
    made, random, pixels = tmp_path / "cifar-100-python", np.random.default_rng(0), dict[str, np.ndarray]()
    made.mkdir()
    for name, count in SMALL["cifar100"].items():
        pixels[name] = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        coarse, fine = [i % 20 for i in range(count)], [i % 100 for i in range(count)]
        (made / name).write_bytes(pickle.dumps({b"data": pixels[name], b"fine_labels": fine, b"coarse_labels": coarse}, protocol=2))
    splits = load("cifar100", tmp_path).splits
    assert [part.size for part in splits] == [8 * N, 2 * N, 2 * N]
    assert splits.train.num_classes == 100
    assert torch.cat([splits.train.y, splits.val.y]).tolist() == [i % 100 for i in range(10 * N)]
    x = torch.from_numpy(pixels["test"]).float().reshape(-1, 3, 32, 32)
    seen = torch.from_numpy(pixels["train"][: 8 * N]).float().reshape(-1, 3, 32, 32) / 255
    scaled = (x / 255 - seen.mean((0, 2, 3), keepdim=True)) / seen.std((0, 2, 3), keepdim=True)
    torch.testing.assert_close(splits.test.x, scaled)


@pytest.mark.parametrize("names", [(b"data", b"labels"), ("data", "labels")], ids=["bytes", "text"])
def test_batches_pickled_anew_are_read(folder: Path, names: tuple[Any, Any]) -> None:
    """By the pickle and the numpy of today, under every protocol, with field names of Python 2 or of Python 3."""
    pixels, labels = batch(0)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        (folder / "data_batch_1").write_bytes(pickle.dumps(dict(zip(names, (pixels, labels), strict=True)), protocol=protocol))
        assert read_cifar("cifar10", folder)[1][:N].tolist() == labels


class Touch:
    """Runs code when unpickled by an ordinary reader."""

    def __init__(self, command: Any, *arguments: Any) -> None:
        self.call = command, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("place", ["value", "key", "label"])
def test_a_malicious_batch_runs_nothing(folder: Path, tmp_path: Path, place: str) -> None:
    pixels, labels = batch(0)
    evil, victim = Touch(os.mkdir, str(tmp_path / "owned")), tmp_path / "owned"
    content: dict[Any, Any] = {b"data": pixels, b"labels": labels}
    content |= {"value": {b"more": evil}, "key": {evil: 1}, "label": {b"labels": [evil, *labels[1:]]}}[place]
    (folder / "data_batch_3").write_bytes(pickle.dumps(content))
    with pytest.raises(FormatError, match=r"data_batch_3.*posix.mkdir has no place"):
        read_cifar("cifar10", folder)
    assert not victim.exists()
    pickle.loads((folder / "data_batch_3").read_bytes(), encoding="bytes")
    assert victim.exists(), "the batch would have been harmless anyway"


@pytest.mark.parametrize("function", [eval, exec, compile, getattr, __import__, np.load], ids=lambda f: f.__name__)
def test_no_function_is_admitted(folder: Path, function: Any) -> None:
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": Touch(function, "1")}))
    with pytest.raises(FormatError, match="has no place"):
        read_cifar("cifar10", folder)


pixels, labels = batch(0)
DAMAGED = {
    "empty": b"",
    "truncated": official(pixels, labels)[:-100],
    "no pickle": b"\xff\xd8\xff\xe0 a photograph",
    "a list": pickle.dumps([1, 2]),
    "no labels": pickle.dumps({b"data": pixels}),
    "other shape": pickle.dumps({b"data": pixels[:, :3000], b"labels": labels}),
    "fewer images": pickle.dumps({b"data": pixels[1:], b"labels": labels[1:]}),
    "other type": pickle.dumps({b"data": pixels.astype(np.int16), b"labels": labels}),
    "label missing": pickle.dumps({b"data": pixels, b"labels": labels[1:]}),
    "no array": pickle.dumps({b"data": pixels.tobytes(), b"labels": labels}),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_batches_are_refused(folder: Path, content: bytes) -> None:
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(FormatError, match="data_batch_2"):
        read_cifar("cifar10", folder)


def test_a_missing_batch(folder: Path) -> None:
    (folder / "data_batch_5").unlink()
    with pytest.raises(FormatError, match="data_batch_5"):
        read_cifar("cifar10", folder)


def test_a_label_of_no_class(folder: Path) -> None:
    (folder / "data_batch_1").write_bytes(official(pixels, [10, *labels[1:]]))
    with pytest.raises(DataError, match=r"^`y` = "):
        load("cifar10", folder.parent)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="HCDC_DATA"):
        load("cifar10", tmp_path)
