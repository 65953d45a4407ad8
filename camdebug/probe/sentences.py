"""What is said of a probe set in more than one place, in the same words everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from camdebug.numerals import count_of
from camdebug.probe.checks import LEAST_PROBES, name_a_few


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
        f"backgrounds of {name_a_few(names)} cannot be tested: the other classes together have fewer than "
        f"{LEAST_PROBES} probes to lend theirs"
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
