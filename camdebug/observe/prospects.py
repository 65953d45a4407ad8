"""``Prospects``: what an observer can find with its probes, said before it looks."""

from __future__ import annotations

from camdebug.cam.target.layers import TargetLayer
from camdebug.observe.backgrounds import Backgrounds
from camdebug.observe.outlook import out_of_reach, places_out_of_reach, smallest_effect, smallest_gaps
from camdebug.probe.checks import LEAST_PROBES
from camdebug.probe.probe_set import ProbeSet
from camdebug.verdict.judge import Judge


class Prospects:
    """Of an observer's probes, grid and error budget.

    Attributes:
        probes: the probe set.
        layers: that are explained.
    """

    probes: ProbeSet
    layers: tuple[TargetLayer, ...]
    _map_grid: tuple[int, ...] | None
    _backgrounds: Backgrounds | None
    _judge: Judge

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Of the maps, in cells: measured by ``rehearse`` and by looks; until then that of the first layer."""
        return self._map_grid or (self.layers[0].grid if self.layers else None)

    @property
    def testable_classes(self) -> list[str]:
        """Names of the classes with enough usable probes, and donors in other classes, to be judged."""
        return [self.probes.class_names[k] for k in self._pairs]

    @property
    def _pairs(self) -> dict[int, int]:
        return {} if self._backgrounds is None else self._backgrounds.pairs

    def out_of_reach(self, looks_left: int | None) -> str | None:
        """Why backgrounds can never raise an alert although classes are tested; ``None`` when they can."""
        return out_of_reach(self._pairs, self._judge, looks_left=looks_left)

    def smallest_gaps(self, looks_left: int | None) -> dict[str, float]:
        """The smallest fall in probability of each class that is likely to be confirmed, by name; none of the others.

        At four looks of five, if the fall varies by 0.2 from one pair of backgrounds to another.
        """
        found = smallest_gaps(self._pairs, self._judge, looks_left=looks_left)
        return {self.probes.class_names[class_idx]: gap for class_idx, gap in found.items()}

    def smallest_effect(self, looks_left: int | None) -> str:
        """The smallest effect that these probes are likely to confirm, in words, and what of places can be found."""
        places = self._places_out_of_reach(looks_left)
        if not self._pairs:
            return "Only whether heat stays at one place can be found." if places is None else f"And {places}"
        effect = smallest_effect(self._pairs, self._judge, looks_left=looks_left)
        return f"{effect} But {places}".lstrip() if places is not None else effect

    def _places_out_of_reach(self, looks_left: int | None) -> str | None:
        if self.grid is None:
            return None
        counts = self.probes.counts
        tests = sum(count >= LEAST_PROBES for count in counts)
        share = self._judge.place_threshold(tests=tests, looks_left=looks_left)
        return places_out_of_reach(self.grid, counts, share, annotated=self.probes.annotated)
