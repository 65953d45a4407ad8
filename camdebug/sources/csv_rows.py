"""The rows of a table of text, and the lines that are none."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from camdebug.sources.columns import shown
from camdebug.sources.entry import Unusable
from camdebug.sources.paths import check_file

UNREADABLE = "\ufffd"
"""Stands for what was no character: converters write it, and so is a NUL byte read."""

Row = tuple[str, tuple[str, ...]]
_Numbered = tuple[int, str, tuple[str, ...]]


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes:
        header: names of the columns, without spaces around them.
        rows: for each row its place, such as ``"table.csv, line 3"``, and its fields, as many as it has.
        broken: of each line that is no row its place, and the fields before the one that cannot be read.
    """

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    broken: tuple[Row, ...]


def read_table(
    file: Path, *, delimiter: str, encoding: str, columns: Sequence[str] | None, one_line: Collection[str] = ()
) -> Table:
    """Read a file of delimited text, in which fields may be quoted.

    Args:
        file: to read.
        delimiter: between fields.
        encoding: of the text.
        columns: names where the file has no line of them.
        one_line: columns that hold no line breaks: where they seem to, a quote is left open.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, is not text of this encoding, or has no line of names.
    """
    lines = _lines(file, encoding)
    given = None if columns is None else tuple(name.strip() for name in columns)
    rows, broken = _rows(lines, file.name, delimiter, _Shape(given, one_line))
    if columns is None and (broken[:1] and (not rows or broken[0][0] < rows[0][0])):
        raise ValueError(f"file: expected a line with the names of the columns, {broken[0][1]} is not delimited text")
    if columns is None and not rows:
        raise ValueError(f"file: expected a line with the names of the columns, {file} has none")
    header = rows.pop(0)[2] if given is None else given
    _check_header(header, "file" if columns is None else "columns")
    return Table(header, tuple(row[1:] for row in rows), tuple(row[1:] for row in broken))


def fits(fields: Sequence[str], width: int) -> bool:
    """Whether a row has as many fields as there are columns; empty ones at its end are nothing."""
    return len(fields) >= width and not any(fields[width:])


def _lines(file: Path, encoding: str) -> list[str]:
    try:
        check_file(file)
        with file.open(newline="", encoding=encoding) as stream:
            lines = list(stream)
    except Unusable as reason:
        kind = FileNotFoundError if "missing" in str(reason) else ValueError
        raise kind(f"file: expected a table, got {file}: {reason}") from reason
    except LookupError as error:
        raise ValueError(f"encoding: expected the name of one, such as 'utf-8', got {encoding!r:.80}") from error
    except UnicodeError as error:
        raise ValueError(
            f"encoding: {file.name} is not text in {encoding}; pass encoding=, often 'cp1252' or 'utf-16'"
        ) from error
    _check_first(lines[0] if lines else "", file.name, encoding)
    # The reader of Python 3.10 fails for NUL, later ones take it for a character.
    return [line.replace("\0", UNREADABLE) for line in lines]


def _check_first(line: str, name: str, encoding: str) -> None:
    """Of what programs write that mean well, or mean another encoding."""
    if line.count("\0") > len(line) // 3:
        raise ValueError(
            f"encoding: {name} is not text in {encoding}, every other byte is zero; pass encoding='utf-16-le' or "
            "'utf-16-be'"
        )
    if marked := re.fullmatch(r'"?sep=(.)"?\s*', line):
        raise ValueError(
            f"file: expected the names of the columns in the first line of {name}, got {line.strip()!r}, which "
            f"spreadsheet programs add; remove that line, and pass delimiter={marked[1]!r}"
        )


class _Shape:
    """What rows over several lines must look like; it is known with the names of the columns."""

    def __init__(self, header: tuple[str, ...] | None, one_line: Collection[str]) -> None:
        self._header, self._one_line = header, one_line

    def fits(self, fields: tuple[str, ...]) -> bool:
        """Whether a row over several lines is one."""
        header = self._header or ()
        named = zip(header, fields, strict=False)
        torn = any(name in self._one_line and ("\n" in field or "\r" in field) for name, field in named)
        return not torn and fits(fields, len(header))

    def learn(self, fields: tuple[str, ...]) -> None:
        """Take the names from the first row that is not empty."""
        if self._header is None and any(fields):
            self._header = fields


def _rows(lines: Sequence[str], name: str, delimiter: str, shape: _Shape) -> tuple[list[_Numbered], list[_Numbered]]:
    """Rows and lines that are none, each with the number of its first line.

    A quote that nobody closes swallows what follows. Where that ends in no row, its first line alone is given up, and
    reading goes on at the next one.
    """
    rows: list[_Numbered] = []
    broken: list[_Numbered] = []
    start = 0
    while start < len(lines):
        for first, last, fields in _well_formed(lines, start, delimiter, shape):
            start = last
            if any(fields):
                rows.append((first, _place(name, first + 1, last), fields))
        if start < len(lines):
            broken.append((start, _place(name, start + 1, start + 1), _before_fault(lines[start], delimiter)))
            start += 1
    return rows, broken


def _well_formed(
    lines: Sequence[str], start: int, delimiter: str, shape: _Shape
) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Rows until a line is none: the numbers of their first line and of the one after their last, and their fields."""
    # Strict: otherwise a quote that nobody closes would take in the rest of the file without a word.
    reader = csv.reader(_from(lines, start), delimiter=delimiter, strict=True, skipinitialspace=True)
    first = start
    try:
        for row in reader:
            fields, last = tuple(field.strip() for field in row), start + reader.line_num
            shape.learn(fields)
            if last - first > 1 and not shape.fits(fields):
                return
            yield first, last, fields
            first = last
    except csv.Error:
        return


def _from(lines: Sequence[str], start: int) -> Iterator[str]:
    return (lines[number] for number in range(start, len(lines)))


def _before_fault(line: str, delimiter: str) -> tuple[str, ...]:
    """The fields of a line up to the first that is not well quoted."""
    mark = re.escape(delimiter)
    field = re.compile(rf' *(?:"((?:[^"]|"")*)" *|((?:[^"{mark}\r\n][^{mark}\r\n]*)?))(?={mark}|[\r\n]|\Z)')
    fields: list[str] = []
    at = 0
    while found := field.match(line, at):
        fields.append((found[2] if found[1] is None else found[1].replace('""', '"')).strip())
        if line[found.end() : found.end() + 1] != delimiter:
            break
        at = found.end() + 1
    return tuple(fields)


def _place(name: str, first: int, last: int) -> str:
    return f"{name}, line {first}" if last <= first else f"{name}, lines {first} to {last}"


def _check_header(header: Sequence[str], argument: str) -> None:
    repeated = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if repeated:
        raise ValueError(f"{argument}: expected different names of columns, got {shown(repeated)} more than once")
