"""A few of the damaged inputs of `make torture`, and that the fuzzer sees what it is to see."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap


def test_damaged_inputs_are_refused_or_harmless() -> None:
    done = subprocess.run([sys.executable, "-m", "torture.fuzz", "--inputs", "42", "--seed", "7"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    read = re.search(r"inputs read: (\d+); refused (\d+), failed 0", done.stdout)
    assert read
    assert int(read[1]) >= 500
    assert int(read[2]) > 300


BAD_READERS = {
    "a crash": "os.kill(os.getpid(), 11)",
    "a hang": "time.sleep(60)",
    "memory": "bytearray(2**31)",
    "another exception": "{}['x']",
    "a command": "os.system('true')",
    "an escape": "(folder.parent / 'owned').write_text('')",
}


def test_a_reader_that_fails_is_seen() -> None:
    """Each in turn takes the place of a loader."""
    code = f"""
        import os, sys, time
        from pathlib import Path
        import tempfile
        from torture import damage, fuzz
        fuzz.SECONDS = 0.5
        for name, line in {BAD_READERS!r}.items():
            def read(folder, line=line):
                if (folder / "a").read_bytes() != b"0123456789":
                    exec(line)
            with tempfile.TemporaryDirectory() as scratch:
                target = damage.Target("bad", lambda folder: (folder / "a").write_bytes(b"0123456789") and None, read, (damage.flip,))
                print(name, fuzz.fuzz(target, 2, 0, Path(scratch))["failed"])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    for name in BAD_READERS:
        assert re.search(rf"^{name} [12]$", done.stdout, re.M), (name, done.stdout, done.stderr)
