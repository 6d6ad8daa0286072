"""A selection of the tests under the lowest and the newest supported versions of the libraries.

    python -m torture.versions

Makes one virtual environment for each of `COMBINATIONS` in a scratch folder and runs `TESTS` in it. A combination that
no index here can serve (the CPU build of a torch, say) is said to be so and skipped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

NEWEST = ("torch", "torch_geometric", "safetensors", "numpy", "scipy", "pydantic", "scikit-learn", "typer", "rich")
COMBINATIONS: dict[str, tuple[str, ...]] = {
    "lowest": ("torch==2.13.0", "torch_geometric==2.5.0", "safetensors==0.4.3", "pydantic==2.6.0", "typer==0.12.0", "rich==13.0.0"),
    "newest": ("torch==2.13.0", *NEWEST[1:]),
    "torch 2.11": ("torch==2.11.0", "torch_geometric", "safetensors"),
}
TESTS = ("tests/store", "tests/spaces", "tests/bilevel/test_linear.py", "tests/condense/test_loop.py", "tests/data/test_pickles.py")
ALWAYS = ("numpy", "scipy", "safetensors", "pydantic", "typer", "rich", "scikit-learn", "matplotlib", "jinja2", "pytest", "hypothesis")
ROOT = Path(__file__).parent.parent


def tried(name: str, pins: tuple[str, ...], folder: Path) -> tuple[str, bool]:
    """What came of the combination, and whether it failed."""
    begin = time.monotonic()
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    constraint = folder / "constraints.txt"
    constraint.write_text("\n".join(pin for pin in pins if "==" in pin) + "\n")
    wanted = {pin.partition("==")[0] for pin in pins} | set(ALWAYS)
    install = [python, "-m", "pip", "install", "--quiet", "--prefer-binary", "--constraint", str(constraint), *sorted(wanted)]
    made = subprocess.run(install, capture_output=True, text=True, check=False)
    if made.returncode:
        reason = next((line for line in made.stderr.splitlines() if line.startswith("ERROR")), "no reason given")
        return f"{name}: cannot be had here ({reason[:160]})", False
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(ROOT)], check=True, capture_output=True)
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", *TESTS]
    done = subprocess.run(tests, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    return f"{name} ({', '.join(pins)}): {last}; {time.monotonic() - begin:.0f} s", done.returncode != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=COMBINATIONS, default=list(COMBINATIONS))
    given = parser.parse_args()
    failed = False
    for name in given.only:
        with tempfile.TemporaryDirectory() as scratch:
            said, wrong = tried(name, COMBINATIONS[name], Path(scratch) / "venv")
        failed |= wrong
        print(said, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
