"""Tables that print: plainly by `print`, ruled and coloured by a console of rich."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class Table(ABC):
    """What prints as a table of text, with notes under it."""

    @abstractmethod
    def cells(self) -> Sequence[Sequence[str]]:
        """The headings, then the rows."""

    def notes(self) -> Sequence[str]:
        """Lines under the table."""
        return ()

    def __str__(self) -> str:
        cells = self.cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
        return "\n".join([*lines, *self.notes()])

    def __rich__(self) -> Any:
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        header, *rows = self.cells()
        table = RichTable(*header, box=SIMPLE_HEAD)
        for row in rows:
            table.add_row(*map(Text, row))  # a bracket in a path is no markup
        return Group(table, *map(Text, self.notes()))


def cell(value: Any) -> str:
    """A value as a table shows it.

    Args:
        value: anything; None where there is none.

    Returns:
        Its text, numbers to four digits.

    >>> cell(0.123456), cell(None), cell((2, 3))
    ('0.1235', '-', '(2, 3)')
    """
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float | complex) else str(value)
