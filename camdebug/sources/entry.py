"""What every reader of annotations gives: the annotated pictures of a source, none of them decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from camdebug.records import Exclusion

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["boxes", "masks"]
Mask = NDArray[np.bool_]


class Unusable(Exception):  # noqa: N818 - not an error: a picture that cannot serve, with the reason
    """One picture cannot serve; the message is the reason, short, and the same for pictures of the same fault."""


@dataclass(frozen=True, eq=False)
class AnnotatedObject:
    """One object of a picture.

    Attributes:
        name: of its class, as annotated.
        box: x1, y1, x2, y2 in pixels of the picture as annotated, as they are there, faults included; ``None`` without.
        mask: gives its ``(H, W)`` pixels when called, and may raise :class:`Unusable`; ``None`` without.
        ignored: never an object to look at, but no background either: crowds, "difficult" ones, void regions.
    """

    name: str
    box: tuple[float, float, float, float] | None = None
    mask: Callable[[], Mask] | None = None
    ignored: bool = False


@dataclass(frozen=True, eq=False)
class Entry:
    """One annotated picture.

    Attributes:
        source_id: unique in its source: the picture's path relative to the source's folder, with ``/``, or its own id.
        picture: its file, or what gives it as a Pillow picture when called (and may raise :class:`Unusable`).
        objects: what is annotated; for pictures with a class and nothing else one object without box and mask.
        size: height and width in pixels as the annotation declares them; ``None`` where it does not.
        file: path relative to the source's folder, with ``/``; empty when it came from no file.
    """

    source_id: str
    picture: Path | Callable[[], Image]
    objects: tuple[AnnotatedObject, ...]
    size: tuple[int, int] | None = None
    file: str = ""


@dataclass(frozen=True, eq=False)
class Annotations:
    """All that a source has.

    Attributes:
        entries: in a stable order.
        names: of the annotated classes, in the source's own order.
        kind: of all objects: boxes and masks are never mixed. ``None`` for classes without places.
        source: what it is, in words and without a path of the machine, such as ``"Pascal VOC, 364 pictures"``.
        exclusions: pictures and annotations that could not be read, each with its reason.
    """

    entries: Sequence[Entry]
    names: tuple[str, ...]
    kind: Kind | None
    source: str
    exclusions: tuple[Exclusion, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a kind under which boxes and masks would be passed over.

        Raises:
            ValueError: when that is so.
        """
        if self.kind not in (*get_args(Kind), None):
            raise ValueError(f"kind: expected 'boxes', 'masks' or None (neither), got {self.kind!r:.80}")
        if self.kind is None:
            placed = next((e for e in self.entries if any(o.box or o.mask for o in e.objects)), None)
            if placed is not None:
                raise ValueError(
                    f"kind: expected 'boxes' or 'masks', as objects of {placed.source_id} have one of them, got None"
                )


@runtime_checkable
class Source(Protocol):
    """Where annotations come from. One of your own needs this one method.

    Pictures are files, or functions that give a Pillow picture; boxes are corners in pixels. Here from rows of a store:

    >>> class FromStore:
    ...     def __init__(self, rows):
    ...         self.rows = rows
    ...
    ...     def read(self):
    ...         entries, faults = [], []
    ...         for file, name, x, y, width, height in self.rows:
    ...             if name is None:
    ...                 faults.append(Exclusion(file, "object without a class"))
    ...                 continue
    ...             found = AnnotatedObject(name, box=(x, y, x + width, y + height))
    ...             entries.append(Entry(file, Path("pictures", file), (found,), file=file))
    ...         return Annotations(entries, ("cat", "dog"), "boxes", "rows of a store", tuple(faults))
    >>> source = FromStore([("1.jpg", "cat", 10, 20, 4, 8), ("2.jpg", None, 0, 0, 5, 5)])
    >>> isinstance(source, Source), source.read().entries[0].objects[0].box
    (True, (10, 20, 14, 28))
    """

    def read(self) -> Annotations:
        """Read the annotations, and no picture.

        Raises:
            ValueError, OSError: when the source as a whole cannot be read; the message says what to do. What is wrong
                with single pictures becomes an exclusion.
        """
        ...
