"""A selection of the tests under the lowest and the newest supported versions of the libraries.

    python -m torture.versions

The lowest versions are the bounds of pyproject.toml. Makes one virtual environment for each combination in a scratch
folder and runs `TESTS` in it. A combination that no index here can serve (the CPU build of a torch, say) is said to be
so and skipped.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXTRAS = ("graphs", "images", "report", "optuna")
ALWAYS = ("pytest", "hypothesis", "pillow", "pandas", "datasets")
TESTS = (
    "tests/store", "tests/spaces", "tests/bilevel", "tests/models", "tests/search", "tests/condense/test_loop.py", "tests/condense/test_hcdc.py",
    "tests/data", "tests/evaluate/test_report.py", "tests/integrations/test_optuna.py", "tests/cli/test_cli.py",
)  # fmt: skip


def lowest() -> dict[str, str]:
    """name -> version of the lower bounds that pyproject.toml gives to what is needed and to `EXTRAS`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    given = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    return dict(line.split(">=") for line in given)


def combinations() -> dict[str, tuple[str, ...]]:
    """Name -> requirements; without a version, the newest there is. Where torch is not what is tried, it is the pinned one."""
    pinned, bounds = (ROOT / "constraints.txt").read_text().strip(), lowest()
    names = [name for name in bounds if name != "torch"]
    least = f"torch {bounds['torch']}"
    return {
        "lowest": (pinned, *(f"{name}=={bounds[name]}" for name in names)),
        "newest": (pinned, *names),
        least: (f"torch=={bounds['torch']}.0+cpu", *names),
    }


def tried(name: str, wanted: tuple[str, ...], folder: Path) -> tuple[str, bool]:
    """What came of the combination, and whether it failed."""
    begin = time.monotonic()
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--prefer-binary", *wanted, *ALWAYS]
    made = subprocess.run(install, capture_output=True, text=True, check=False)
    if made.returncode:
        reason = next((line for line in made.stderr.splitlines() if line.startswith("ERROR")), "no reason given")
        return f"{name}: cannot be had here ({reason[:160]})", False
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(ROOT)], check=True, capture_output=True)
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "-m", "not slow", *TESTS]
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(tests, cwd=ROOT, capture_output=True, text=True, check=False, env=surroundings)
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    counts = ", ".join(re.findall(r"\d+ (?:passed|failed|skipped|errors?)", last)) or last
    said = f"{name} ({', '.join(wanted)}): {counts}; {time.monotonic() - begin:.0f} s"
    return "\n".join([said, *failures]), done.returncode != 0


def main() -> int:
    known = combinations()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=known, default=list(known))
    given = parser.parse_args()
    failed = False
    for name in given.only:
        with tempfile.TemporaryDirectory() as scratch:
            said, wrong = tried(name, known[name], Path(scratch) / "venv")
        failed |= wrong
        print(said, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
