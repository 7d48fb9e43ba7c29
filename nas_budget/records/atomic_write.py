"""Files that are whole or not there, and tables whose cells no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet takes for a formula, or that became none by an apostrophe."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, a crash or a power cut never meets half of it; folders are made as needed.

    A text is written in UTF-8, its line ends as they are.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        part = Path(file.name)
        try:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # a file system may store the new name before the content
            file.close()
            part.chmod(0o644)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table with a head, all of it or nothing. Texts of strangers in it cannot become formulas.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([spreadsheet_safe(cell) for cell in row] for row in (columns, *rows))
    write_whole(path, text.getvalue())


def spreadsheet_safe(cell: Any) -> Any:
    """The cell, or a text with an apostrophe before it where a spreadsheet would take it for a formula.

    Examples:
        >>> spreadsheet_safe("=1+1"), spreadsheet_safe("cat"), spreadsheet_safe(-0.5)
        ("'=1+1", 'cat', -0.5)
    """
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def from_spreadsheet(cell: str) -> str:
    """The text that `spreadsheet_safe` made this cell of.

    Examples:
        >>> from_spreadsheet("'=1+1"), from_spreadsheet("'tis")
        ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
