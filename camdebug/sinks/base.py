"""What every dashboard backend can do, and names that every backend accepts."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LONGEST_SLUG = 60

_ENTITIES = {ord(c): f"&#{ord(c)};" for c in "[]`\\"}


@dataclass(frozen=True)
class PictureBox:
    """A box on a picture, xyxy in pixels of the logged image, with what it shows."""

    left: float
    top: float
    right: float
    bottom: float
    label: str


@dataclass(frozen=True, eq=False)
class Picture:
    """A finished picture to log.

    Attributes:
        tag: ``group/name`` of ASCII letters, digits and ``_.-/``; the group may hold slashes.
        image: ``(H, W, 3)`` uint8 sRGB.
        caption: plain text.
        boxes: already drawn into ``image``; backends with boxes of their own may show them as well.
    """

    tag: str
    image: NDArray[np.uint8]
    caption: str
    boxes: tuple[PictureBox, ...] = ()

    @property
    def group(self) -> str:
        """The tag without its last part."""
        return self.tag.rpartition("/")[0] or self.tag


class Sink(Protocol):
    """A dashboard backend. Any method may raise; the caller isolates each call."""

    @property
    def name(self) -> str:
        """How people know the backend."""
        ...

    def pictures(self, pictures: Sequence[Picture], *, step: int) -> None:
        """Log pictures at ``step``."""
        ...

    def text(self, tag: str, markdown: str, *, step: int) -> None:
        """Log a text at ``step``; HTML in it is shown, not interpreted."""
        ...

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Tell people now. Called seldom; nothing is de-duplicated here."""
        ...

    def facts(self, facts: Mapping[str, str | int | float]) -> None:
        """Record settings and other facts of the whole run."""
        ...


def slug(name: str) -> str:
    r"""Map any name to 1 to 60 characters of ``[A-Za-z0-9_.-]``; names that lose much keep a hash.

    >>> slug("Grey wolf / snow"), slug("caf\u00e9")
    ('Grey-wolf-snow', 'cafe')
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-.")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    if not clean:
        return f"class-{digest}"
    return clean if len(clean) <= LONGEST_SLUG else f"{clean[: LONGEST_SLUG - 9]}-{digest}"


def unique_slugs(names: Sequence[str]) -> tuple[str, ...]:
    """Slugs of ``names`` in order, different from one another even where case does not count.

    >>> unique_slugs(["a b", "a/b", "A B"])
    ('a-b', 'a-b-2', 'A-B-3')
    """
    taken: set[str] = set()
    slugs = []
    for name in names:
        base = candidate = slug(name)
        number = 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{base[: LONGEST_SLUG - len(str(number)) - 1]}-{number}"
        taken.add(candidate.lower())
        slugs.append(candidate)
    return tuple(slugs)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode ``(H, W, 3)`` uint8 as JPEG of quality 85: a tenth of the size and time of a PNG."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def safe_markdown(text: str) -> str:
    """Markdown without HTML, links and pictures, its line breaks kept.

    What stands in code spans is left to the viewers, which show it as it is. So that they find the same code spans, no
    other backtick and no backslash is left outside of them.
    """
    parts = re.split(r"(`[^`\n]+`)", text)
    plain = "".join(part if i % 2 else inert(part) for i, part in enumerate(parts))
    return re.sub(r"(?<!\n)\n(?!\n)", "  \n", plain)


def inert(text: str) -> str:
    r"""Markdown in which no HTML, link, picture or code span can begin. Emphasis, lists and tables stay.

    >>> inert("**a** <b> [c](d) `e` \\|")
    '**a** &lt;b&gt; &#91;c&#93;(d) &#96;e&#96; &#124;'
    """
    return html.escape(text, quote=False).replace("\\|", "&#124;").translate(_ENTITIES)
