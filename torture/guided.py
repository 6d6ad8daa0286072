"""Damaged files that coverage leads to: libFuzzer by way of atheris, on the readers of `torture.fuzz`.

    python -m torture.guided --runs 2000 --seed 0

Each reader works in a process of its own, whose branches in `hcdc` are watched; inputs that reach new ones are kept and
changed further. What is read is one file of a whole folder, replaced by the input. An exception that is no `HcdcError`,
a hang of five seconds and more than `MEMORY` MiB end the process, and are failures. Needs `pip install -e '.[torture]'`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

MEMORY = 2048
FILES = {
    "card": "card.json",
    "signed-tensors": "data.safetensors",
    "checkpoint": "manifest.json",
    "npz": "graph.npz",
    "npz-fields": "edge_index.npy",
    "cifar10": "cifar-10-batches-py/data_batch_1",
    "planetoid": "planetoid/Cora/raw/ind.cora.graph",
    "ogbn-arxiv": "ogbn_arxiv/raw/edge.csv.gz",
    "flickr": "flickr/role.json",
}
"""The file that each reader of `torture.seeds` finds replaced."""


def watch(name: str, scratch: Path, runs: int, seed: int) -> None:
    """Fuzz one reader in this process, which libFuzzer ends."""
    import random
    import warnings

    import atheris  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    with atheris.instrument_imports(include=["hcdc"], enable_loader_override=False):  # pyright: ignore[reportAttributeAccessIssue]
        from torture import seeds
    from hcdc.errors import HcdcError

    warnings.simplefilter("ignore")
    target = next(each for each in seeds.targets() if each.name == name)
    folder, corpus = scratch / "files", scratch / "corpus"
    folder.mkdir()
    corpus.mkdir()
    target.make(folder)
    place = folder / FILES[name]
    (corpus / "whole").write_bytes(place.read_bytes())
    target.read(folder)  # what it imports counts for no input's time

    def once(content: bytes) -> None:
        place.write_bytes(content)
        target.mend(random.Random(0), folder)
        try:
            target.read(folder)
        except HcdcError as error:
            if len(str(error)) >= 2000:
                raise AssertionError("a message that nobody reads") from error

    limits = [f"-runs={runs}", f"-seed={seed + 1}", "-timeout=5", f"-rss_limit_mb={MEMORY}", "-max_len=65536", f"-artifact_prefix={scratch}/"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], once)
    atheris.Fuzz()


def fuzz(name: str, runs: int, seed: int) -> tuple[int, int, str]:
    """(inputs read, branches reached, what went wrong) of one reader in a child."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "torture.guided", "--child", name, scratch, "--runs", str(runs), "--seed", str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        done_runs = re.search(r"Done (\d+) runs", done.stderr)
        reached = re.findall(r"cov: (\d+)", done.stderr)
        wrong = "" if done_runs and done.returncode == 0 else (done.stdout + done.stderr)[-3000:]
        return int(done_runs[1]) if done_runs else 0, int(reached[-1]) if reached else 0, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="inputs of each kind")
    parser.add_argument("--kinds", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if find_spec("atheris") is None:
        print("atheris: not done, it is not installed: pip install -e '.[torture]'")
        return 0
    if given.child:
        watch(given.child[0], Path(given.child[1]), given.runs, given.seed)
        return 0
    begin, total, failed = time.monotonic(), 0, 0
    for name in given.kinds:
        runs, reached, wrong = fuzz(name, given.runs, given.seed)
        total, failed = total + runs, failed + bool(wrong)
        print(f"{name}: {runs} inputs, {reached} branches reached{'; FAILED' if wrong else ''}", flush=True)
        if wrong:
            print(wrong)
    print(f"inputs that coverage led to: {total}, failed {failed}; seed {given.seed}; {time.monotonic() - begin:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
