"""Known weaknesses of the installed libraries, by pip-audit in a virtual environment of its own.

    python -m torture.audit

What is audited is every distribution that this interpreter has, at its version. Where the package index or the
database of weaknesses cannot be reached, that is said, and it is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import distributions
from pathlib import Path

LIMIT = 240
"""Seconds for each of the two steps."""


def installed() -> list[str]:
    """name==version of everything but this project, without local version labels, which no database knows."""
    found = {dist.metadata["Name"]: dist.version.partition("+")[0] for dist in distributions() if dist.metadata["Name"]}
    return sorted(f"{name}=={version}" for name, version in found.items() if name.lower() != "hcdc")


def unreached(said: str) -> int:
    print(f"pip-audit: not done, the index or the database could not be reached ({said})")
    return 0


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder, wanted = Path(scratch), installed()
        venv.create(folder / "venv", with_pip=True)
        (folder / "wanted.txt").write_text("\n".join(wanted) + "\n")
        python = str(folder / "venv" / "bin" / "python")
        audit = [python, "-m", "pip_audit", "--requirement", str(folder / "wanted.txt"), "--no-deps", "--disable-pip", "--format", "json"]
        try:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-audit"], check=True, timeout=LIMIT, capture_output=True)
            done = subprocess.run(audit, timeout=LIMIT, capture_output=True, text=True, check=False)
        except subprocess.SubprocessError as error:
            return unreached(type(error).__name__)
        try:
            found = json.loads(done.stdout)["dependencies"]
        except ValueError:
            return unreached((done.stderr.strip().splitlines() or ["no answer"])[-1][:200])
    weak = [(item["name"], item["version"], [weakness["id"] for weakness in item["vulns"]]) for item in found if item.get("vulns")]
    skipped = sum("skip_reason" in item for item in found)
    if skipped == len(found):
        reason = found[0]["skip_reason"][:120] if found else "no answer"
        print(f"pip-audit: not done, the database knows none of {len(found)} distributions here ({reason})")
        return 0
    for name, version, names in weak:
        print(f"{name} {version}: {', '.join(names)}")
    print(f"pip-audit: {len(found)} distributions, {skipped} of them unknown to the database, {len(weak)} with known weaknesses")
    return bool(weak)


if __name__ == "__main__":
    sys.exit(main())
