"""`fetch` and `extract` against a server of their own: resumed, cut off, changed on the way, malicious."""

from __future__ import annotations

import fcntl
import hashlib
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hcdc.data import fetch
from hcdc.data.download import extract
from hcdc.errors import DataError, FormatError

CONTENT = bytes(range(256)) * 100
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content`; `cut` closes the connection that many bytes early, `ranges` honours Range, `asked` records it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cut, self.ranges, self.sized = CONTENT, 0, True, True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if self.path != "/file":
            self.send_error(404)
            return
        if wanted and server.ranges and start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.sized:
            self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start : len(server.content) - server.cut])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "file"


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


def test_the_whole_file(server: Server, path: Path) -> None:
    assert fetch(server.url, path, SHA.upper()) == path
    assert path.read_bytes() == CONTENT
    assert names(path) == {"file"}
    fetch(server.url, path, SHA)
    assert server.asked == [None], "fetched what was there"


def test_a_file_of_unknown_length(server: Server, path: Path) -> None:
    server.sized = False
    assert fetch(server.url, path, SHA).read_bytes() == CONTENT


def test_a_connection_cut_off_is_resumed(server: Server, path: Path) -> None:
    server.cut = 1000
    with pytest.raises(DataError, match=r"ended after 24600 of 25600 bytes; call again"):
        fetch(server.url, path, SHA)
    assert names(path) == {"file.part"}
    with pytest.raises(DataError, match="ended after 24600"):
        fetch(server.url, path, SHA)
    server.cut = 0
    assert fetch(server.url, path, SHA).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=24600-", "bytes=24600-"]
    assert names(path) == {"file"}


@pytest.mark.parametrize("have", [len(CONTENT), len(CONTENT) + 7], ids=["whole", "too long"])
def test_a_part_to_which_nothing_is_to_be_added(server: Server, path: Path, have: int) -> None:
    path.parent.mkdir()
    path.with_name("file.part").write_bytes((CONTENT * 2)[:have])
    assert fetch(server.url, path, SHA).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server: Server, path: Path) -> None:
    server.ranges = False
    path.parent.mkdir()
    path.with_name("file.part").write_bytes(b"old")
    assert fetch(server.url, path, SHA).read_bytes() == CONTENT


def test_another_hash_than_the_known(server: Server, path: Path) -> None:
    with pytest.raises(FormatError, match=r"SHA-256.*was deleted"):
        fetch(server.url, path, "0" * 64)
    assert names(path) == set()
    path.write_bytes(b"edited")
    with pytest.raises(FormatError, match="delete it and fetch it again"):
        fetch(server.url, path, SHA)


def test_the_first_hash_holds_where_none_is_known(server: Server, path: Path) -> None:
    fetch(server.url, path)
    record = path.with_name("file.sha256")
    assert record.read_text() == f"{SHA}  file\n"
    fetch(server.url, path)
    path.unlink()
    server.content = b"another"
    with pytest.raises(FormatError, match=r"file\.sha256 expects"):
        fetch(server.url, path)
    assert names(path) == {"file.sha256"}
    record.write_bytes(b"\xff")
    server.content = CONTENT
    with pytest.raises(FormatError, match="expects"):
        fetch(server.url, path)


def test_a_part_of_another_file_does_not_pass(server: Server, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("file.part").write_bytes(b"x" * 100)
    with pytest.raises(FormatError):
        fetch(server.url, path, SHA)
    assert fetch(server.url, path, SHA).read_bytes() == CONTENT


def test_what_cannot_be_fetched(server: Server, path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404") as caught:
        fetch(server.url + "s", path)
    assert str(path) in caught.value.remedy
    server.server_close()
    for url, rule in ((server.url, "could not be fetched"), ("file:///etc/hosts", "http or https"), ("http://[", "could not be fetched")):
        with pytest.raises(DataError, match=rule):
            fetch(url, path)
    (tmp_path / "plain").touch()
    with pytest.raises(DataError, match="could not be fetched"):
        fetch(server.url, tmp_path / "plain" / "file")


def test_one_process_at_a_time(server: Server, path: Path) -> None:
    path.parent.mkdir()
    with path.with_name("file.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process"):
            fetch(server.url, path)
    assert server.asked == []


def archive(folder: Path, *members: str | zipfile.ZipInfo) -> Path:
    with zipfile.ZipFile(folder / "archive.zip", "w") as whole:
        for member in members:
            whole.writestr(member, b"content")
    return folder / "archive.zip"


def test_extract(tmp_path: Path) -> None:
    found = extract(archive(tmp_path, "top/a", "top/b/c", "else"), "top", tmp_path / "deep" / "data", limit=14)
    assert sorted(str(file.relative_to(found)) for file in found.rglob("*")) == ["a", "b", "b/c"]
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["data"]


def link() -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("top/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


UNSAFE = {
    "up": ("top/../../x", "no place"),
    "root": ("/top/x", "no place"),
    "backslash": ("top\\..\\x", "no place"),
    "link": (link(), "no place"),
    "too large": ("top/second", "at most 13 bytes"),
    "no such folder": (None, "hold a folder top"),
}


@pytest.mark.parametrize(("member", "rule"), UNSAFE.values(), ids=UNSAFE)
def test_unsafe_archives(tmp_path: Path, member: str | zipfile.ZipInfo | None, rule: str) -> None:
    given = archive(tmp_path, "top/first", member) if member else archive(tmp_path, "other/first")
    with pytest.raises(FormatError, match=rule):
        extract(given, "top", tmp_path / "inside" / "data", limit=13)
    assert list((tmp_path / "inside").iterdir()) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["archive.zip", "inside"]


def test_no_damage_gets_past_extract(tmp_path: Path) -> None:
    """Cut at, and one byte changed at, every place: unpacked as before, or an error of ours and nothing left."""
    whole = archive(tmp_path, "top/a", "top/b").read_bytes()
    for place in range(len(whole)):
        for number, content in enumerate((whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])):
            (tmp_path / "archive.zip").write_bytes(content)
            folder = tmp_path / "out" / f"{place}-{number}"
            try:
                extract(tmp_path / "archive.zip", "top", folder, limit=100)
            except (DataError, FormatError):
                assert not folder.exists()
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith(".")]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").touch()
    with pytest.raises(DataError, match="could not be unpacked"):
        extract(archive(tmp_path, "top/a"), "top", tmp_path / "data", limit=100)
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["mine"]
