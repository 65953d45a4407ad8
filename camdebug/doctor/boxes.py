"""The probes on the grid: how large boxes are in cells, and what can be tested with them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from camdebug.cam.target.layers import TargetLayer
from camdebug.doctor.advice import such_as
from camdebug.doctor.facts import ClassBoxes, LookPlan, ProbeFacts
from camdebug.doctor.findings import Findings
from camdebug.doctor.words import faults
from camdebug.measures.localisation import MAX_AREA, MIN_AREA
from camdebug.observe import Observer
from camdebug.observe.outlook import places_out_of_reach
from camdebug.probe.checks import LEAST_PROBES, name_a_few
from camdebug.probe.probe_set import ProbeSet
from camdebug.verdict.judge import Judge
from camdebug.wording import shown_name

Grid = tuple[int, ...]


def check_probes(
    probes: ProbeSet,
    observer: Observer,
    grid: Grid | None,
    findings: Findings,
    plan: LookPlan,
    *,
    others: Sequence[TargetLayer] = (),
) -> ProbeFacts:
    """Say what the probes can show.

    Args:
        probes: the probe set.
        observer: of these probes; if it is prepared, it can also tell of places.
        grid: height and width in cells; ``None`` when no layer was found.
        findings: where what is found goes.
        plan: of the looks.
        others: layers on other grids, the last ones first.
    """
    classes = tuple(class_boxes(probes, grid))
    testable = tuple(observer.testable_classes)
    places = None if grid is None else _can_test_places(probes, grid, plan)
    if probes.annotated and plan.contrast:
        _judge_classes(classes, testable, findings)
    else:
        _judge_counts(probes, findings)
        why = "With contrast=False no background is tested" if probes.annotated else "The probes have no boxes"
        left = "nothing else" if places is False else "only heat that stays at one place can be found"
        findings.note(f"{why}: maps are drawn, and {left}.")
    if probes.annotated:
        _judge_sizes(classes, grid, findings, others)
    if plan.contrast:
        _judge_names(probes, testable, findings)
    hopeless = observer.out_of_reach(plan.looks)
    if hopeless is not None:
        findings.problem(hopeless)
    return ProbeFacts(
        probes=len(probes),
        fingerprint=probes.fingerprint,
        classes=classes,
        testable=testable,
        places=places,
        outlook=_alone(observer.smallest_effect(plan.looks)),
    )


def _can_test_places(probes: ProbeSet, grid: Grid, plan: LookPlan) -> bool:
    """As a look does: by the grid, the number of probes and what each test may spend."""
    if len(grid) != 2:
        return False
    tests = sum(count >= LEAST_PROBES for count in probes.counts)
    share = Judge(probes.class_names, alpha=plan.alpha).place_threshold(tests=tests, looks_left=plan.looks)
    return places_out_of_reach(grid, probes.counts, share, annotated=probes.annotated) is None


def _alone(outlook: str) -> str:
    """Without the word that joins it to a sentence before, where there is none."""
    for word in ("And ", "But "):
        outlook = outlook.removeprefix(word)
    return outlook[:1].upper() + outlook[1:]


def class_boxes(probes: ProbeSet, grid: Grid | None) -> list[ClassBoxes]:
    """Boxes of every class, after the transform; in cells where there is a grid of height and width."""
    area = probes.coverage((1, 1))[:, 0, 0]
    return [_of_class(probes, area, k, grid) for k in range(len(probes.class_names))]


def _of_class(probes: ProbeSet, area: Tensor, class_idx: int, grid: Grid | None) -> ClassBoxes:
    rows = torch.nonzero(probes.labels == class_idx).flatten().tolist()
    own = area[rows]
    small, large, without = (own < MIN_AREA) & (own > 0), own > MAX_AREA, own == 0
    sizes = in_cells(
        torch.cat([torch.zeros(0, 4, dtype=torch.float64), *(probes.boxes[i] for i in rows)]), probes, grid
    )
    known = sizes is not None and len(sizes) > 0
    return ClassBoxes(
        name=shown_name(probes.class_names[class_idx]),
        probes=len(rows),
        usable=int((~(small | large | without)).sum()),
        too_small=int(small.sum()),
        too_large=int(large.sum()),
        without_box=int(without.sum()),
        width=float(sizes[:, 0].quantile(0.5)) if sizes is not None and known else None,
        height=float(sizes[:, 1].quantile(0.5)) if sizes is not None and known else None,
        below_a_cell=int((sizes.prod(1) < 1).sum()) if sizes is not None else 0,
    )


def in_cells(boxes: Tensor, probes: ProbeSet, grid: Grid | None) -> Tensor | None:
    """Width and height ``(k, 2)`` of xyxy boxes in cells; ``None`` without a grid of height and width."""
    if grid is None or len(grid) != 2:
        return None
    (height, width), (rows, columns) = probes.image_size, grid
    sides = (boxes[:, 2:] - boxes[:, :2]).double()
    return sides * torch.tensor([columns / width, rows / height], dtype=torch.float64)


def _judge_classes(classes: tuple[ClassBoxes, ...], testable: tuple[str, ...], findings: Findings) -> None:
    few = [c for c in classes if c.usable < LEAST_PROBES]
    if few:
        findings.problem(
            f"{len(few)} of {len(classes)} classes cannot be judged, which takes {LEAST_PROBES} probes with boxes of 2 "
            f"to 70 % of the picture: {name_a_few([_too_few(c) for c in few])}. Take more pictures of them, or other "
            "crops."
        )
    names = {shown_name(name) for name in testable}
    lone = [f"`{c.name}`" for c in classes if c.usable >= LEAST_PROBES and c.name not in names]
    if lone:
        findings.problem(
            f"backgrounds of {name_a_few(lone)} cannot be tested: fewer than {LEAST_PROBES} usable pictures "
            "of other classes, that do not show it as well, can lend theirs. Add pictures of other classes alone."
        )


def _too_few(found: ClassBoxes) -> str:
    return f"`{found.name}` {found.usable} of {found.probes}{faults(found)}"


def _judge_sizes(
    classes: tuple[ClassBoxes, ...], grid: Grid | None, findings: Findings, others: Sequence[TargetLayer]
) -> None:
    coarse = [c for c in classes if c.width is not None and c.height is not None and c.width * c.height < 1]
    if coarse and grid is not None:
        smallest, cells = min((c.width or 0) * (c.height or 0) for c in coarse), prod(grid)
        fine = such_as(others, lambda other: smallest * prod(other) >= cells)
        names = name_a_few([f"`{c.name}`" for c in coarse])
        findings.problem(
            f"the grid of {'x'.join(map(str, grid))} cells is coarse for {names}: the median box is smaller than one "
            f"cell, so heat on an object cannot be told from heat beside it. Choose an earlier target_layer{fine}, or "
            "larger pictures."
        )
    below = sum(c.below_a_cell for c in classes)
    if below and not coarse:
        findings.note(f"Boxes smaller than one cell: {below}.")


def _judge_counts(probes: ProbeSet, findings: Findings) -> None:
    if max(probes.counts) < LEAST_PROBES:
        findings.problem(
            f"no class has {LEAST_PROBES} probes (the most are {max(probes.counts)}), so nothing can be said about "
            "any. Add probes."
        )


def _judge_names(probes: ProbeSet, testable: tuple[str, ...], findings: Findings) -> None:
    if len(probes.class_names) == 1:
        findings.problem("the probes have one class: backgrounds of other classes are needed. Add probes of others.")
    elif len(testable) == 2 == len(probes.class_names):
        findings.note("With two classes there is one verdict for both: a cue of one opens a gap in the other, too.")
