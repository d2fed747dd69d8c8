"""What every benchmark shares: the machine, the clock, the compiler and the report."""

import argparse
import functools
import importlib.metadata
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import Array

import jaxinit

PACKAGES = ("jax", "jaxlib", "numpy", "flax", "torch")
COMPILES = 3
# OpenBLAS and OpenMP threads spin for a while after their work, on the next contender's cores.
REST = 0.05


class Ratio(NamedTuple):
    """Of two medians, and the smallest and largest ratio within one round."""

    medians: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.medians:.2f} ({self.least:.2f}-{self.most:.2f})"


@dataclass(frozen=True)
class Race:
    """Seconds that each contender took, one number a round."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Seconds of a contender in its median round."""
        return statistics.median(self.seconds[name])

    def speedup(self, name: str, over: str) -> Ratio:
        """How many times faster a contender is than another."""
        rounds = [b / a for a, b in zip(self.seconds[name], self.seconds[over], strict=True)]
        return Ratio(self.median(over) / self.median(name), min(rounds), max(rounds))


def race(rounds: int, contenders: Mapping[str, Callable[[], object]], calls: int = 1) -> Race:
    """Time the contenders in turn, forwards and backwards, after a warm-up round of all.

    Args:
        rounds: how often each is timed.
        contenders: by name, what to call; its arrays are waited for.
        calls: in a round, for what is too short to time once.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        _time(call, calls)
    for i in range(rounds):
        for name, call in list(contenders.items())[:: (-1) ** i]:
            seconds[name].append(_time(call, calls))
    return Race(seconds)


def _time(call: Callable[[], object], calls: int) -> float:
    time.sleep(REST)
    start = time.perf_counter()
    for _ in range(calls):
        # Named, so that the last result is freed after the clock stops.
        result = jax.block_until_ready(call())
    elapsed = (time.perf_counter() - start) / calls
    del result
    return elapsed


def compiled(function: Callable[..., Any], *arguments: Any) -> jax.stages.Compiled:
    """A function traced, lowered and compiled for its arguments, with nothing cached."""
    jax.clear_caches()
    return jax.jit(function).lower(*arguments).compile()


class Contest(NamedTuple):
    """Programs that do the same, how fast they compile and how fast they run."""

    programs: Mapping[str, jax.stages.Compiled]
    compiling: Race
    running: Race


def contest(
    rounds: int, functions: Mapping[str, Callable[[Array], Any]], keys: Mapping[str, Array]
) -> Contest:
    """Compile the contenders in turn, COMPILES times, then run them in turn.

    Args:
        rounds: how often each is run.
        functions: by name, a function of a key.
        keys: by name, its key.
    """
    builds = {name: functools.partial(compiled, f, keys[name]) for name, f in functions.items()}
    compiling = race(COMPILES, builds)
    programs = {name: build() for name, build in builds.items()}
    runs = {name: functools.partial(program, keys[name]) for name, program in programs.items()}
    return Contest(programs, compiling, race(rounds, runs))


def temp_over_output(program: jax.stages.Compiled) -> str:
    """Temporary memory of a compiled program on a device, over that of its result there."""
    memory: Any = program.memory_analysis()
    return f"{memory.temp_size_in_bytes / memory.output_size_in_bytes:.3f}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, readable as it stands."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in cells)


def machine() -> str:
    """What the numbers were measured on, as a Markdown table."""
    device = jax.devices()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rows = [
        ("CPU", f"{_cpu_model()}, {os.cpu_count()} cores, {memory:.0f} GiB"),
        ("load average", f"{os.getloadavg()[0]:.1f} at the start"),
        ("system", platform.platform()),
        ("device", f"{jax.device_count()} x {device.device_kind} ({device.platform})"),
        ("python", platform.python_version()),
        *((package, _version(package)) for package in PACKAGES),
        ("jaxinit", jaxinit.__version__),
    ]
    return table(("machine", ""), rows)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main(title: str, report: Callable[[int], Iterable[str]]) -> None:
    """The command line of a benchmark: print its sections as they come, and keep them in a file.

    Args:
        title: of the page.
        report: from a number of rounds to sections of Markdown.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default: 9)")
    parser.add_argument("--out", type=Path, help="file to write the printed Markdown to as well")
    arguments = parser.parse_args()
    about = (
        f"Medians of {arguments.rounds} rounds in which the contenders take turns. Speedups are "
        "ratios of medians, in brackets the smallest and the largest ratio within one round."
    )
    sections = []
    for section in itertools.chain((f"# {title}", machine(), about), report(arguments.rounds)):
        print(section, end="\n\n", flush=True)
        sections.append(section)
    if arguments.out:
        arguments.out.write_text("\n\n".join(sections) + "\n")
