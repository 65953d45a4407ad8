"""The rows of a table of text, and the lines that are none."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from camdebug.records import Exclusion
from camdebug.sources.columns import shown
from camdebug.sources.entry import Unusable
from camdebug.sources.paths import check_file

UNREADABLE = "\ufffd"
"""Stands for what was no character: converters write it, and so is a NUL byte read."""


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes:
        header: names of the columns, without spaces around them.
        rows: for each row its place, such as ``"table.csv, line 3"``, and its fields, as many as it has.
        faults: lines that are no rows, with the reason.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    faults: tuple[Exclusion, ...]


def read_table(file: Path, *, delimiter: str, encoding: str, columns: Sequence[str] | None) -> Table:
    """Read a file of delimited text, in which fields may be quoted.

    Args:
        file: to read.
        delimiter: between fields.
        encoding: of the text.
        columns: names where the file has no line of them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, is not text of this encoding, or has no line of names.
    """
    try:
        check_file(file)
        with file.open(newline="", encoding=encoding) as stream:
            rows, faults = _rows(stream, file.name, delimiter)
    except Unusable as reason:
        kind = FileNotFoundError if "missing" in str(reason) else ValueError
        raise kind(f"file: expected a table, got {file}: {reason}") from reason
    except LookupError as error:
        raise ValueError(f"encoding: expected the name of one, such as 'utf-8', got {encoding!r:.80}") from error
    except UnicodeError as error:
        raise ValueError(
            f"encoding: {file.name} is not text in {encoding}; pass encoding=, often 'cp1252' or 'utf-16'"
        ) from error
    if columns is None and not rows:
        raise ValueError(f"file: expected a line with the names of the columns, {file} has none")
    header = tuple(name.strip() for name in (rows.pop(0)[1] if columns is None else columns))
    _check_header(header, "file" if columns is None else "columns")
    return Table(header, tuple(rows), tuple(faults))


def _rows(stream: TextIO, name: str, delimiter: str) -> tuple[list[tuple[str, tuple[str, ...]]], list[Exclusion]]:
    # Strict: otherwise a quote that nobody closes would swallow the rest of the file without a word.
    reader = csv.reader(_without_nul(stream), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows: list[tuple[str, tuple[str, ...]]] = []
    faults: list[Exclusion] = []
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return rows, faults
        except csv.Error:
            faults.append(Exclusion(_place(name, first, reader.line_num), "row that is not delimited text"))
            continue
        if any(fields):
            rows.append((_place(name, first, reader.line_num), tuple(field.strip() for field in fields)))


def _without_nul(stream: TextIO) -> Iterator[str]:
    # The reader of Python 3.10 fails for it, later ones take it for a character.
    return (line.replace("\0", UNREADABLE) for line in stream)


def _place(name: str, first: int, last: int) -> str:
    return f"{name}, line {first}" if last <= first else f"{name}, lines {first} to {last}"


def _check_header(header: Sequence[str], argument: str) -> None:
    repeated = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if repeated:
        raise ValueError(f"{argument}: expected different names of columns, got {shown(repeated)} more than once")
