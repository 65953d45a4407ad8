"""What is said on a sheet of probes."""

from __future__ import annotations

import re
from itertools import takewhile

from camdebug.measures.localisation import MAX_AREA, MIN_AREA
from camdebug.numerals import count_of, number
from camdebug.probe.checks import name_a_few
from camdebug.probe.probe_set import ProbeSet
from camdebug.probe.sentences import classes_of, pixels_of
from camdebug.render.ink import FAINT, INK, WRONG, Colour
from camdebug.render.picture import Colours
from camdebug.wording import shown_name, visible

TITLE, TEXT = 16, 12


_OBJECT = re.compile(r"#\d+(?::.*)?$", re.DOTALL)


def opening(probes: ProbeSet, shown: int, colours: Colours, *, framed: bool = False) -> list[tuple[str, int, Colour]]:
    """What is said above the pictures: text, size and colour of each paragraph.

    Args:
        probes: the probe set.
        shown: so many of them.
        colours: they are shown in.
        framed: some are framed, because they cannot be judged.
    """
    several = f", {shown} of them shown, evenly over their areas" if shown < len(probes) else ""
    classes = classes_of(len(probes.class_names))
    said = [
        (f"{count_of(len(probes), 'probe')} in {classes}{several}", TITLE, INK),
        (f"As the model receives them, {pixels_of(probes.image_size)}. {colours.sentence}", TEXT, FAINT),
        (_legend(probes, framed=framed), TEXT, FAINT),
    ]
    if names := _about_names(probes):
        said.append((names, TEXT, FAINT))
    if probes.provenance is not None:
        said.append((f"{probes.provenance.source}, through {probes.provenance.transform}", TEXT, FAINT))
    if probes.empty_classes:
        names = name_a_few([shown_name(name) for name in probes.empty_classes])
        said.append((f"No probe of {len(probes.empty_classes)} of {classes}: {names}", TEXT, WRONG))
    return [(" ".join(visible(text).split()), size, colour) for text, size, colour in said]


def _legend(probes: ProbeSet, *, framed: bool) -> str:
    if not probes.annotated:
        return "Nothing is annotated."
    ignored = any(len(boxes) for boxes in probes.ignore) or probes.ignore_masks is not None
    what = "box" if probes.masks is None else "mask"
    small, large = f"{100 * MIN_AREA:.0f}", f"{100 * MAX_AREA:.0f}"
    red = f" Framed in red: objects below {small} or above {large} % of the picture, which cannot be judged."
    return f"Double line: {what} of the object.{' Dashed: ignored regions.' if ignored else ''}{red if framed else ''}"


def _about_names(probes: ProbeSet) -> str:
    """What stands before and behind the names of pictures, where anything does."""
    names = [probes.class_names[k] for k in probes.labels.tolist()]
    said = []
    if folder := shared_folder(probes):
        said.append(f"Names stand without the folder that all share, {folder}.")
    if any(_OBJECT.search(source) for source in probes.source_ids):
        said.append("Behind a name #0, #1, ...: which object of the picture was cut out.")
    if any(source.endswith(f":{name}") for source, name in zip(probes.source_ids, names, strict=True)):
        said.append("Behind a colon: the class that a picture of several stands for here.")
    return " ".join(said)


def shared_folder(probes: ProbeSet) -> str:
    """The folder with a ``/`` that all source ids begin with, or nothing."""
    if len(probes) == 1:
        return ""
    first, last = (name.split("/")[:-1] for name in (min(probes.source_ids), max(probes.source_ids)))
    shared = [part for part, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    found = "".join(f"{part}/" for part in shared)
    return found if all(name.startswith(found) for name in probes.source_ids) else ""


def identity(probes: ProbeSet, row: int, limit: int, folder: str = "") -> str:
    """``#12  train/...23.jpg``, the source with at most so many characters; without one of its own the number alone.

    Args:
        probes: the probe set.
        row: of the probe.
        limit: of characters.
        folder: that is said elsewhere, and left out here.
    """
    source = probes.source_ids[row]
    return f"#{row}" if source == str(row) else f"#{row}  {middle_cut(source.removeprefix(folder), limit)}"


def middle_cut(text: str, limit: int) -> str:
    """At most ``limit`` characters (at least 4), dots in the middle: files of one folder differ at their end.

    >>> middle_cut("train/images/000123.jpg", 15)
    'train/...23.jpg'
    """
    limit = max(limit, 4)
    if len(text) <= limit:
        return text
    end = (limit - 3 + 1) // 2
    return f"{text[: limit - 3 - end]}...{text[len(text) - end :]}"


def fault(area: float) -> str:
    """Why an object of such a share of the picture cannot be judged, or nothing."""
    return "too small" if area < MIN_AREA else "too large" if area > MAX_AREA else ""


def covered(probes: ProbeSet, row: int, area: float) -> str:
    """How much of its picture an object takes, and whether that can be judged."""
    boxes = len(probes.boxes[row]) if probes.masks is None else 1
    several = f", {boxes} boxes" if boxes > 1 else ""
    share = f"{number(100 * area)} %"
    why = fault(area)
    return f"{why}: {share}{several}" if why else f"{share} of the picture{several}"
