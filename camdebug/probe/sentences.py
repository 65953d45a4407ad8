"""What is said of a probe set in more than one place, in the same words everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from camdebug.numerals import count_of
from camdebug.probe.checks import LEAST_PROBES, name_a_few
from camdebug.records import Exclusion


def classes_of(count: int) -> str:
    """A number of classes.

    >>> classes_of(1), classes_of(3)
    ('1 class', '3 classes')
    """
    return "1 class" if count == 1 else f"{count} classes"


def pixels_of(size: tuple[int, int]) -> str:
    """Height and width as people write sizes: width first, and said so where it matters.

    >>> pixels_of((96, 96)), pixels_of((240, 320))
    ('96x96 pixels', '320x240 pixels (width x height)')
    """
    height, width = size
    return f"{width}x{height} pixels{'' if height == width else ' (width x height)'}"


def small_per_class(per_class: int) -> str:
    """That so few were asked for."""
    return (
        f"ProbeSet: per_class is {per_class}, and fewer than {LEAST_PROBES} probes of a class cannot be judged; 40 are "
        "recommended"
    )


def few_probes(counted: Sequence[str], classes: int) -> str:
    """That some classes, each with its count, have too few.

    >>> few_probes(["dog: 12"], 3)
    'ProbeSet has fewer than 20 probes of 1 of 3 classes (dog: 12): it cannot be judged'
    """
    return (
        f"ProbeSet has fewer than {LEAST_PROBES} probes of {len(counted)} of {classes_of(classes)} "
        f"({name_a_few(counted)}): {'it' if len(counted) == 1 else 'they'} cannot be judged"
    )


def few_donors(names: Sequence[str]) -> str:
    """That too few pictures of other classes can stand behind the objects of some."""
    return (
        f"backgrounds of {name_a_few(names)} cannot be tested: fewer than {LEAST_PROBES} pictures of other classes, "
        "that do not show it as well, can lend theirs"
    )


def no_probes(names: Sequence[str]) -> str:
    """That some classes have none.

    >>> no_probes(["dog"])
    'ProbeSet has no probe of 1 class (dog): it stays unmeasured'
    """
    what = "it stays" if len(names) == 1 else "they stay"
    return f"ProbeSet has no probe of {classes_of(len(names))} ({name_a_few(names)}): {what} unmeasured"


def boxes_of(count: int) -> str:
    """A number of boxes."""
    return "1 box" if count == 1 else f"{count} boxes"


def dropped_boxes(dropped: Sequence[str]) -> str:
    """That boxes of pictures that were kept cannot be used, each with its picture and the reason."""
    boxes = boxes_of(len(dropped)).replace(" ", " unusable ")
    return f"ProbeSet dropped {boxes} of pictures it kept ({name_a_few(dropped)})"


def alike(pairs: int) -> str:
    """That pairs of probes are nearly the same picture.

    >>> alike(1), alike(2)
    ('1 pair of probes shows nearly the same picture', '2 pairs of probes show nearly the same picture')
    """
    return f"{count_of(pairs, 'pair')} of probes {'shows' if pairs == 1 else 'show'} nearly the same picture"


def summarise(exclusions: Sequence[Exclusion], offered: int, what: str = "pictures") -> str:
    """One sentence that counts the exclusions by reason and names the first few of each."""
    by_reason: dict[str, list[str]] = {}
    for exclusion in exclusions:
        by_reason.setdefault(exclusion.reason, []).append(exclusion.source_id)
    parts = [
        f"{len(ids)} x {reason} ({name_a_few(ids)})"
        for reason, ids in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]
    return f"ProbeSet left out {len(exclusions)} of {offered} {what}: " + "; ".join(parts)


def counted_as(source_ids: Iterable[str], names: Iterable[str]) -> str:
    """What probes and exclusions are counted as: pictures, unless one stands for several classes.

    Args:
        source_ids: of all of them, each with its class behind it where its picture has objects of several.
        names: of the classes.
    """
    endings = tuple(f":{name}" for name in names)
    several = any(source_id.endswith(endings) for source_id in source_ids)
    return "candidates (a picture and a class each)" if several else "pictures"
