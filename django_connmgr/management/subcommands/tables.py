"""Tables of text, as subcommands print them."""

from collections.abc import Sequence


def as_table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < 3 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
