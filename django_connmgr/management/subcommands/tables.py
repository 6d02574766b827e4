"""Tables of text, as subcommands print them."""

import io
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress

#: What is not for a terminal, such as the escapes of one that another process sent.
_CONTROL = dict.fromkeys([*range(32), *range(127, 160)], "?")

Rows = Sequence[Sequence[str]]


def as_table(rows: Rows, *, words: int = 3) -> str:
    """A head and lines below it: the first ``words`` columns to the left, numbers to the right.

    By ``rich``, if that is installed and this is for a terminal.
    """
    if sys.stdout.isatty():
        with suppress(ImportError):
            return _as_rich_table(rows, words)
    return "\n".join(as_lines(rows, words=words))


def as_lines(rows: Rows, *, words: int = 3) -> list[str]:
    """As ``as_table()``, a line for each row, without ``rich``."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def wrap(text: str, indent: str = "  ") -> list[str]:
    """Lines of at most 80 characters."""
    return textwrap.wrap(
        clean(text), 80, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )


def clean(text: str) -> str:
    """Without what a terminal would obey."""
    return text.translate(_CONTROL)


def _as_rich_table(rows: Rows, words: int) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, head in enumerate(rows[0]):
        table.add_column(head, justify="left" if index < words else "right")
    for row in rows[1:]:
        table.add_row(*(Text(clean(cell)) for cell in row))
    out = io.StringIO()
    width = shutil.get_terminal_size().columns
    Console(file=out, force_terminal=True, width=width).print(table)
    return out.getvalue().rstrip()


def shorten(text: str, most: int) -> str:
    """At most so many characters: what is too long loses its middle."""
    if len(text) <= most:
        return text
    front = (most - 1) // 2
    return f"{text[:front]}…{text[len(text) - (most - 1 - front) :]}"


def as_duration(seconds: float) -> str:
    """As short as it can be read: ``0.4 s``, ``42 s``, ``3 m``, ``5 h``, ``2 d``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
