"""The tables and their legend, as text for a terminal or a file."""

import math

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jaxinit.tour.data import CLASSES, PIXELS
from jaxinit.tour.experiment import Row, Settings
from jaxinit.tour.network import NETWORKS
from jaxinit.tour.training import LEARNING_RATE, MOMENTUM
from jaxinit.tour.verdict import failed, learned, ratio_text, share_text, verdict

CHANCE = f"log {CLASSES} = {math.log(CLASSES):.3f}"
HEADINGS = ("start", "loss", "forward", "backward", "dead", "twins", "accuracy")
# Narrower terminals get the sentences under the numbers.
ONE_TABLE = 180


def report(rows: list[Row], settings: Settings, width: int) -> RenderableType:
    """All rows, network by network, with what was run above and what it means below.

    Args:
        rows: of the tour.
        settings: it was run with.
        width: of the terminal, in characters.

    Returns:
        Something rich can print.
    """
    parts: list[RenderableType] = [_heading(settings)]
    for network in NETWORKS:
        part = [row for row in rows if row.network == network]
        title = Text.assemble((f"\n{network} network", "bold"), f"   a guess has loss {CHANCE}")
        parts += [title, *_tables(part, width >= ONE_TABLE)]
    return Group(*parts, _legend(settings))


def cells(row: Row) -> tuple[str, ...]:
    """A row's numbers as shown, in the order of `HEADINGS`.

    Args:
        row: one start of one network.

    Returns:
        A string a column.
    """
    return (
        row.start,
        f"{row.loss:.3f}" if abs(row.loss) < 1000 else f"{row.loss:.1e}",
        ratio_text(row.forward_ratio),
        ratio_text(row.backward_ratio),
        share_text(row.dead),
        share_text(row.twins),
        "diverged" if row.diverged else share_text(row.accuracy),
    )


def _tables(rows: list[Row], whole: bool) -> list[RenderableType]:
    numbers = Table(box=SIMPLE_HEAD)
    for heading in HEADINGS:
        numbers.add_column(heading, justify="left" if heading == "start" else "right", no_wrap=True)
    if whole:
        numbers.add_column("why")
    sentences = Table.grid(padding=(0, 2, 0, 1))
    for row in rows:
        style = _style(row)
        *most, accuracy = cells(row)
        why = [verdict(row)] if whole else []
        numbers.add_row(*most, Text(accuracy, style=style), *why)
        sentences.add_row(Text(row.start, style=style), verdict(row))
    return [numbers] if whole else [numbers, sentences]


def _style(row: Row) -> str:
    if failed(row):
        return "red"
    return "green" if learned(row) else "yellow"


def _heading(settings: Settings) -> Text:
    return Text(
        f"Handwritten digits; {settings.depth} hidden layers of {PIXELS} units; "
        f"{settings.steps} steps of SGD, batch {settings.batch}, learning rate {LEARNING_RATE} "
        f"falling to 0, momentum {MOMENTUM}; seed {settings.seed}"
    )


def _legend(settings: Settings) -> Table:
    legend = Table.grid(padding=(0, 2))
    for name, meaning in (
        ("", ""),
        ("loss", f"before training; a uniform guess has {CHANCE}"),
        ("forward", "rms of the units' outputs before training, last hidden layer over first"),
        ("backward", "rms of the loss's gradient by the units' inputs, first over last"),
        ("dead", f"hidden units whose gradient is 0 on all {settings.measured} digits measured"),
        ("twins", "hidden units with the same input and gradient as another of their layer"),
        ("accuracy", f"on held-out digits after {settings.steps} steps"),
        ("none", "no signal, or none that float32 can hold"),
        ("note", f"glorot and lecun agree between hidden layers: both have variance 1/{PIXELS}"),
    ):
        legend.add_row(Text(name, style="bold"), meaning)
    return legend
