"""An examination in words: problems first, then what is there, each in a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from camdebug.doctor.facts import ClassBoxes, CostFacts, FollowFacts, HeatFacts, LayerFacts, ModelFacts, OutputFacts
from camdebug.numerals import count_of, number, percent
from camdebug.wording import visible

if TYPE_CHECKING:
    from camdebug.doctor.report import DoctorReport

_CLASSES = 12
_INDENT = 11


def report_words(report: DoctorReport) -> str:
    """All of it, without a line break at the end."""
    lines = [
        f"camdebug doctor: {count_of(len(report.problems), 'problem') if report.problems else 'no problem found'}."
    ]
    lines += [f"  {i}. {_sentence(text)}" for i, text in enumerate(report.problems, 1)]
    lines.append("")
    lines += [f"{head:<{_INDENT}}{visible(text)}" for head, text in _facts(report)]
    lines += [f"{'note':<{_INDENT}}{text}" for text in report.notes]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _facts(report: DoctorReport) -> Iterator[tuple[str, str]]:
    yield "model", _model(report.model)
    if report.output is not None:
        yield "output", _output(report.output)
    for layer in report.layers:
        yield "layer", _layer(layer)
    if report.other_layers:
        yield "", f"other layers: {', '.join(report.other_layers)}"
    if report.heat is not None:
        yield "maps", _heat(report.heat)
    if report.following is not None:
        yield "place", _following(report.following)
    if report.probes is not None:
        yield "probes", f"{report.probes.probes} in {len(report.probes.classes)} classes; {_tests(report)}"
        shown = report.probes.classes[:_CLASSES]
        yield from (("", _boxes(found)) for found in shown)
        if len(report.probes.classes) > len(shown):
            yield "", f"and {len(report.probes.classes) - len(shown)} more classes"
        yield "power", report.probes.outlook
    if report.cost is not None:
        yield from (("cost" if i == 0 else "", line) for i, line in enumerate(_cost(report.cost)))


def _model(found: ModelFacts) -> str:
    enters = f"; a picture enters as {found.pictures}" if found.pictures else ""
    return (
        f"{_many(found.parameters)} parameters ({', '.join(found.dtypes) or 'none'}), {_many(found.frozen)} frozen"
        f"{enters}; BatchNorm layers {found.batch_norms}, dropout layers {found.dropouts}, in evaluation mode at a look"
    )


def _many(count: int) -> str:
    return f"{number(count / 1e6)} M" if count >= 100_000 else str(count)


def _output(found: OutputFacts) -> str:
    classes = "classes unknown" if found.classes is None else f"{found.classes} classes"
    return f"{found.raw} for one picture, read as {classes} with {found.link}"


def _layer(found: LayerFacts) -> str:
    where = f"{found.layout}, {'x'.join(map(str, found.grid))} cells"
    told = "" if where in found.reason else f", {where}"
    return f"{found.name} ({found.reason}{told}): activation {found.activation} {found.dtype}"


def _heat(found: HeatFacts) -> str:
    return (
        f"{found.method} of {count_of(found.pictures, 'picture')}: a gradient reaches {percent(found.cells)} of the "
        f"cells and {percent(found.channels)} of the channels; {found.without_evidence} maps empty, {found.constant} "
        f"constant, {found.not_finite} not finite"
    )


def _following(found: FollowFacts) -> str:
    return (
        f"a brighter corner changes its own cells most in {found.hits} of {found.trials} trials (chance "
        f"{found.chance * found.trials:.0f})"
    )


def _tests(report: DoctorReport) -> str:
    assert report.probes is not None  # the caller has looked
    found = report.probes
    places = {None: "", True: "; places can be tested", False: "; places cannot be tested"}[found.places]
    return f"backgrounds of {len(found.testable)} can be tested{places}"


def _boxes(found: ClassBoxes) -> str:
    size = (
        ""
        if found.width is None or found.height is None
        else (f", median box {found.width:.1f} x {found.height:.1f} cells (w x h)")
    )
    return f"`{found.name}`: {found.usable} of {found.probes} probes usable{faults(found)}{size}"


def faults(found: ClassBoxes) -> str:
    """Why probes of a class cannot be used, in brackets, or nothing."""
    counts = ((found.too_small, "too small"), (found.too_large, "too large"), (found.without_box, "without a box"))
    why = ", ".join(f"{count} {fault}" for count, fault in counts if count)
    return f" ({why})" if why else ""


def _cost(found: CostFacts) -> Iterator[str]:
    yield (
        f"{count_of(found.pictures, 'picture')}: forward {seconds(found.forward_seconds)}, maps "
        f"{seconds(found.map_seconds)} ({number(found.ratio)} times as long)"
    )
    yield (f"memory {size(found.memory_bytes)} ({found.memory}); activation {size(found.activation_bytes)} a picture")
    if found.look is not None:
        yield (
            f"a look, estimated without drawing: {number(found.look.forwards)} forwards of the probes, "
            f"{seconds(found.look.seconds)}; at most, when planned, {number(found.look.planned_forwards)}, "
            f"{seconds(found.look.planned_seconds)}"
        )


def seconds(value: float) -> str:
    """A time as people read it.

    >>> seconds(0.0123), seconds(4.5), seconds(230)
    ('12 ms', '4.5 s', '3.8 min')
    """
    if value < 1:
        return f"{number(1000 * value)} ms"
    return f"{number(value)} s" if value < 100 else f"{number(value / 60)} min"


def size(count: int) -> str:
    """Bytes as people read them.

    >>> size(512), size(100352), size(3 * 2**30)
    ('512 B', '98 KiB', '3.0 GiB')
    """
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= factor:
            return f"{number(count / factor)} {unit}"
    return f"{count} B"
