"""The command line: `jaxinit tour`, `jaxinit list`, `jaxinit show`, `jaxinit doctor`."""

import argparse
import contextlib
import errno
import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxinit import __version__
from jaxinit.doctor import DoctorError, add_doctor, examine

if TYPE_CHECKING:
    from jaxinit.tour import Row, Settings

EXTRA = ("rich", "matplotlib", "sklearn", "optax")
# A line of the table stays one line in a file or a pipe.
PIPE = 400
QUICK = {"steps": 100, "depth": 10}


class CommandError(Exception):
    """What keeps a command from its work, in the user's words.

    Args:
        told: the words.
        status: to exit with.
    """

    def __init__(self, told: str, status: int = 1) -> None:
        super().__init__(told)
        self.status = status


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None means the process's own.

    Returns:
        The exit status: 0, or 1 for a failure or a finding, 2 if the doctor was given no network,
        130 for Ctrl-C, 141 for a closed pipe.

    Raises:
        SystemExit: with status 2 for arguments that do not parse, 0 for `--help`, `--version`.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int | None = arguments.run(arguments)
        sys.stdout.flush()
    except CommandError as error:
        print(f"jaxinit {arguments.command}: error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxinit", description="Weight initializers for JAX.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"jaxinit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_tour(commands.add_parser)
    _add_list(commands.add_parser)
    _add_show(commands.add_parser)
    add_doctor(commands.add_parser).set_defaults(run=_doctor)
    return parser


def _add_tour(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    tour = add_parser(
        "tour",
        help="see what the start decides, on handwritten digits",
        description=(
            "Train a deep ReLU, tanh and SELU network on handwritten digits from nine starts; "
            "print what each start looked like and how far it got, and draw it. Takes well under "
            "a minute and no download. The table goes to stdout, progress to stderr."
        ),
        allow_abbrev=False,
    )
    tour.add_argument(
        "--out",
        type=_png,
        default=Path("jaxinit-tour.png"),
        metavar="FILE",
        help="the figure, a .png file (default: %(default)s)",
    )
    tour.add_argument("--steps", type=_whole(1), metavar="N", help="training steps (default: 300)")
    tour.add_argument("--depth", type=_whole(2), metavar="N", help="hidden layers (default: 20)")
    tour.add_argument(
        "--seed",
        type=_whole(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of the split, the batches and the weights (default: %(default)s)",
    )
    tour.add_argument(
        "--quick",
        action="store_true",
        help="fewer steps ({steps}) and layers ({depth}) where not given".format(**QUICK),
    )
    tour.set_defaults(run=_tour)


def _add_list(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    listing = add_parser(
        "list",
        help="the initializers, by family",
        description="Print every initializer, by family: its name and its law, a line each.",
        allow_abbrev=False,
    )
    listing.add_argument(
        "pattern",
        nargs="?",
        default="",
        metavar="TEXT",
        help="print those only whose name, family, law or name elsewhere contains this",
    )
    listing.set_defaults(run=_list)


def _add_show(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    show = add_parser(
        "show",
        help="one initializer: its law, its source and what it draws",
        description=(
            "Print an initializer's law, its names elsewhere and its source, and draw its weights, "
            "their histogram and singular values beside independent normal ones."
        ),
        allow_abbrev=False,
    )
    show.add_argument("name", metavar="NAME", help='a name, or a call such as "he_normal() * 0.5"')
    show.add_argument("--shape", type=_shape, metavar="N,N", help="of the weights that are drawn")
    show.add_argument(
        "--seed",
        type=_whole(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of the weights (default: %(default)s)",
    )
    show.add_argument(
        "--out",
        type=_png,
        default=Path("jaxinit-show.png"),
        metavar="FILE",
        help="the figure, a .png file (default: %(default)s)",
    )
    show.set_defaults(run=_show)


def _shape(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed is whole numbers, such as 64,32")
    return sizes


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    allowed = f"a whole number, {least} or more" if most is None else f"{least} to {most}"

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            number = int(text)
            if least <= number and (most is None or number <= most):
                return number
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed is {allowed}")

    return parse


def _png(text: str) -> Path:
    if not text.endswith(".png"):
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed is a name that ends in .png")
    return Path(text)


def _list(arguments: argparse.Namespace) -> None:
    from jaxinit.gallery import entries

    found = entries(arguments.pattern)
    if not found:
        raise CommandError(f"no initializer matches {arguments.pattern!r}: try a shorter text")
    width = max(len(entry.name) for entry in found)
    family = None
    for entry in found:
        if entry.family != family:
            print(f"{'' if family is None else chr(10)}{entry.family}")
            family = entry.family
        print(f"  {entry.name:{width}}  {entry.law}")


def _show(arguments: argparse.Namespace) -> None:
    _require(("matplotlib",), "plot")
    from jaxinit import gallery

    named = [entry for entry in gallery.entries() if entry.name == arguments.name]
    try:
        init = named[0].example() if named else gallery.evaluate(arguments.name)
        asked = [arguments.shape] if arguments.shape else [*gallery.SHAPES]
        shown = [shape for entry in named for shape in entry.shapes() if not arguments.shape]
        weights = gallery.draw(init, arguments.seed, asked + shown)
    except ValueError as error:
        raise CommandError(str(error)) from error
    for entry in named:
        print(f"{entry.call}\n\n{entry.description}")
        for title in ("Peers", "Reference"):
            if text := entry.section(title):
                print(f"\n{title}:\n{textwrap.indent(text, '    ')}")
        print()
    print(f"{init!r} of shape {weights.shape}: mean {weights.mean():.3g}, std {weights.std():.3g}")
    with _replacing(arguments.out) as partial:
        gallery.figure(init, weights, arguments.seed).savefig(partial, format="png")
    print(f"wrote {arguments.out}", file=sys.stderr)


def _doctor(arguments: argparse.Namespace) -> int:
    try:
        report = examine(arguments.target, arguments.learning_rate)
    except DoctorError as error:
        raise CommandError(str(error), status=2) from error
    report.print()
    if arguments.fix and report.rules:
        print(f"\n{report.rules}")
    if arguments.html:
        with _replacing(arguments.html) as partial:
            report.to_html(partial)
        print(f"wrote {arguments.html}", file=sys.stderr)
    return 0 if report.healthy else 1


def _tour(arguments: argparse.Namespace) -> None:
    _require(EXTRA, "tour")
    from rich.console import Console

    from jaxinit.tour import Settings, figure, report

    asked = {name: getattr(arguments, name) for name in ("steps", "depth", "seed")}
    given = {name: value for name, value in asked.items() if value is not None}
    settings = Settings(**(QUICK if arguments.quick else {}) | given)
    with _replacing(arguments.out) as partial:
        rows = _train(settings)
        figure(rows, settings).savefig(partial, format="png")
    console = Console()
    if not console.is_terminal:
        console.width = PIPE
    with console.capture() as text:
        console.print(report(rows, settings, console.width))
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in text.get().splitlines()))
    sys.stdout.flush()
    print(f"wrote {arguments.out}", file=sys.stderr)


def _train(settings: "Settings") -> "list[Row]":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from jaxinit.tour.experiment import experiment
    from jaxinit.tour.network import NETWORKS

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        tasks = {
            network: bars.add_task(f"{network} network", total=1.0, start=False)
            for network in NETWORKS
        }

        def progress(network: str, share: float) -> None:
            bars.start_task(tasks[network])
            bars.update(tasks[network], completed=share)

        return experiment(settings, progress)


def _require(packages: Sequence[str], extra: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise CommandError(
                f'{error.name or package} is not installed: pip install "jaxinit[{extra}]"'
            ) from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name beside the path for a file that takes its place once it is whole."""
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        partial.touch(exist_ok=False)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
