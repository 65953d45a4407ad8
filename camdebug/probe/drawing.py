"""Fill every class with probes from its candidates, and keep account of what was tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from camdebug.numerals import percent
from camdebug.probe.boxes import JUDGED_AREA
from camdebug.probe.checks import unfit
from camdebug.probe.placing import NoObject, Placed, Placer
from camdebug.probe.selection import Candidate, drawing_order
from camdebug.records import ClassDraw, Exclusion
from camdebug.sources import Unusable


@dataclass(frozen=True, eq=False)
class Row:
    """One probe: a picture that serves one class."""

    source_id: str
    candidate: Candidate
    placed: Placed


@dataclass(frozen=True)
class Limits:
    """What is drawn.

    Attributes:
        per_class: at most so many probes a class.
        seed: of the order.
        min_area: least share of the picture, after the transform, that objects of the class may take.
        max_area: most.
    """

    per_class: int
    seed: int
    min_area: float
    max_area: float


@dataclass(eq=False)
class Drawing:
    """Of all classes, those with the fewest pictures first.

    A picture serves a second class only where that would stay short otherwise.

    Attributes:
        placer: reads pictures.
        limits: what is drawn.
        names: of the classes.
        rows: the probes, in the order of the classes once all are filled.
        exclusions: pictures that were tried and left out.
        dropped: boxes that were dropped of pictures that serve.
        tallies: for each class what became of the pictures tried, in the words of ``ClassDraw``.
    """

    placer: Placer
    limits: Limits
    names: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    dropped: list[Exclusion] = field(default_factory=list)
    tallies: dict[int, Counter[str]] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)
    _broken: set[str] = field(default_factory=set)

    def fill(self, offered: Sequence[Sequence[Candidate]]) -> None:
        """Draw all classes from their candidates."""
        for class_idx in sorted(range(len(offered)), key=lambda k: (len(offered[k]), k)):
            self.tallies[class_idx] = Counter(offered=len(offered[class_idx]))
            self._fill_class(class_idx, drawing_order(offered[class_idx], seed=self.limits.seed))
        self.rows.sort(key=lambda row: row.candidate.class_idx)
        if not self.rows:
            self.placer.raise_failure()

    def of_classes(self) -> tuple[ClassDraw, ...]:
        """How each class was filled."""
        keys = [key for key in ClassDraw.__dataclass_fields__ if key != "name"]
        return tuple(ClassDraw(name, *(self.tallies[k][key] for key in keys)) for k, name in enumerate(self.names))

    def _fill_class(self, class_idx: int, order: Sequence[Candidate]) -> None:
        count = 0
        for candidate in self._fresh_first(order):
            if count == self.limits.per_class:
                break
            count += self._try(candidate, self.tallies[class_idx])

    def _fresh_first(self, order: Sequence[Candidate]) -> Iterator[Candidate]:
        """Pictures that serve no other class yet, then those that do."""
        serving = set(self._ids.values())
        yield from (c for c in order if c.entry.source_id not in serving)
        yield from (c for c in order if c.entry.source_id in serving)

    def _try(self, candidate: Candidate, tally: Counter[str]) -> bool:
        """Whether the picture became a probe."""
        source_id = candidate.entry.source_id
        if source_id in self._broken:
            return False
        tally["tried"] += 1
        try:
            placed = self.placer.place(candidate)
        except NoObject as unusable:
            self.exclusions.append(Exclusion(self._identifier(candidate, always=True), str(unusable)))
            return False
        except Unusable as unusable:
            self._broken.add(source_id)
            self.exclusions.append(Exclusion(source_id, str(unusable)))
            return False
        reason = self._judge(placed, tally)
        identifier = self._identifier(candidate, always=reason is not None)
        if reason is not None:
            self.exclusions.append(Exclusion(identifier, reason))
            return False
        self._ids[identifier] = source_id
        self.rows.append(Row(identifier, candidate, placed))
        self.dropped += [Exclusion(identifier, fault.reason) for fault in placed.dropped]
        return True

    def _identifier(self, candidate: Candidate, *, always: bool) -> str:
        """The picture's id, with the class behind it where the picture serves, or may serve, another one as well."""
        source_id, name = candidate.entry.source_id, self.names[candidate.class_idx]
        index = self.placer.naming.index
        several = len({index.get(o.name) for o in candidate.entry.objects if not o.ignored} - {None}) > 1
        found = f"{source_id}:{name}" if always and several else source_id
        while found in self._ids:
            found += f":{name}"
        return found

    def _judge(self, placed: Placed, tally: Counter[str]) -> str | None:
        """Why a picture cannot be a probe, counted; ``None`` when it can."""
        reason = unfit(placed.image, torch.zeros(0, 4), (), annotated=False)
        if reason is not None or placed.before is None or placed.after is None:
            return reason
        least, most = self.limits.min_area, self.limits.max_area
        smallest, largest = JUDGED_AREA  # counted whatever was asked for: no verdict comes of others
        tally["too_large_before"] += placed.before > largest
        tally["too_small_before"] += placed.before < smallest
        if placed.after == 0:
            tally["gone"] += 1
            return "nothing of the object is left after the transform"
        tally["too_large_after"] += placed.after > largest
        tally["too_small_after"] += placed.after < smallest
        if placed.after > most:
            return f"object over {percent(most)} of the picture after the transform"
        if placed.after < least:
            return f"object under {percent(least)} of the picture after the transform"
        return None
