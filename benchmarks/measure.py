"""How the benchmarks measure: contenders in turns, bytes alive, and the bare matrix products of a computation."""

from __future__ import annotations

import json
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from hcdc import on
from hcdc.store import hardware

RESULTS = Path(__file__).parent / "results"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Action = Callable[[], object]


class Cost(NamedTuple):
    """Medians of one call: seconds by the clock, and seconds of the processor (of the device, where there is one)."""

    wall: float
    busy: float


def timed(action: Action) -> Cost:
    """One call. On a GPU its work lies between two events, and the only synchronisation is after the second."""
    if DEVICE.type == "cuda":
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        began = time.perf_counter()
        first.record()
        action()
        last.record()
        torch.cuda.synchronize()
        return Cost(time.perf_counter() - began, first.elapsed_time(last) / 1e3)
    began = time.perf_counter(), time.process_time()
    action()
    return Cost(time.perf_counter() - began[0], time.process_time() - began[1])


def in_turns(contenders: Mapping[str, Action], repeats: int) -> dict[str, Cost]:
    """Medians over `repeats` rounds in which each contender is called once, after a round that is not counted.

    What else the machine does then falls on all of them alike.
    """
    for action in contenders.values():
        action()
    rounds = [{name: timed(action) for name, action in contenders.items()} for _ in range(repeats)]
    return {name: Cost(median(each[name].wall for each in rounds), median(each[name].busy for each in rounds)) for name in contenders}


def peak_bytes(action: Action) -> int:
    """The most bytes of tensors that are alive at once during a call, beyond those before it."""
    action()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        action()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        action()
    most = alive = 0
    profiler: Any = seen.profiler
    for event in profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            most = max(most, alive)
    return most


class Products(TorchDispatchMode):
    """Records the products with matrices and the convolutions of a computation, forward and backward.

    `calls` are functions and arguments, ready to be made again; `operations` is the number of multiplications and
    additions in them, a sparse matrix counted by its stored entries. `others` counts all other calls and `written` the
    bytes of new tensors that they make, by name.
    """

    NAMES = ("mm", "bmm", "addmm", "baddbmm", "convolution", "convolution_backward")

    def __init__(self, *, keep: bool = False) -> None:
        super().__init__()
        self.keep, self.calls, self.operations, self.others = keep, list[tuple[Any, Any, Any]](), 0, 0
        self.written: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in self.NAMES:
            self.operations += operations(name, args, found)
            if self.keep:
                self.calls.append((function, *tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}))))
        else:
            self.others += 1
            self.written[name] += new_bytes(args, found)
        return found

    @classmethod
    def of(cls, action: Action, *, keep: bool = False) -> Products:
        with cls(keep=keep) as seen:
            action()
        return seen

    def again(self) -> None:
        """The products alone, on the numbers that they were made of."""
        with torch.no_grad():
            for function, args, kwargs in self.calls:
                function(*args, **kwargs)


def operations(name: str, args: Any, found: Any) -> int:
    """Multiplications and additions of one call."""
    if name == "convolution":
        return 2 * found.numel() * args[1][0].numel()
    if name == "convolution_backward":
        return 2 * args[0].numel() * args[2][0].numel() * sum(args[10][:2])
    left, right = [value for value in args if isinstance(value, Tensor)][-2:]
    if left.layout == torch.sparse_csr:
        return 2 * left.values().numel() * right.shape[-1]
    return 2 * left.numel() * right.shape[-1]


def new_bytes(args: Any, found: Any) -> int:
    """Bytes of a dense tensor that shares no memory with what it was made of; a tensor written in place counts as new."""
    if not isinstance(found, Tensor) or found.layout != torch.strided:
        return 0
    shared = any(isinstance(each, Tensor) and each.layout == torch.strided and _same_memory(each, found) and each is not found for each in args)
    return 0 if shared else found.numel() * found.element_size()


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def exponent(sizes: Sequence[float], amounts: Sequence[float]) -> float:
    """Slope of log amount against log size, by least squares."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (sizes, amounts))
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / x.square().sum())


def surroundings() -> dict[str, Any]:
    """What a figure was measured on; `load` is the mean number of processes that wanted a core during the last minute."""
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"
    with on(DEVICE):
        machine = hardware()
    return {"hardware": machine, "torch": torch.__version__, "threads": torch.get_num_threads(), "device": device, "load": os.getloadavg()[0]}


def keep(name: str, command: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Write the figures to `results/NAME.json` and print their table."""
    busy = resource.getrusage(resource.RUSAGE_SELF)
    content = {"command": command, **surroundings(), "processor_seconds": round(busy.ru_utime + busy.ru_stime, 1), **facts, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(table(rows), flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([_written(row[head]) for head in heads] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _written(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
