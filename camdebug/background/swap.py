"""The prediction swap: by how much a class's predictions fall when its backgrounds give way to those of others.

Same-class against other-class background behind the same object (Xiao et al. 2020, "Noise or Signal", mixed-same minus
mixed-rand), here on the probes, with both pictures alike wherever an object of a donor stood.
"""

from __future__ import annotations

from torch import Tensor

from camdebug.background.evidence import Evidence
from camdebug.background.grouping import Rows, by_class, pair_p_value, spread
from camdebug.background.pairing import Pairing
from camdebug.background.sign_flip import sign_flip_p_value
from camdebug.records import BackgroundSwap

_PANEL_RESOLUTION = 0.001


def swaps(
    evidence: Evidence, pairing: Pairing, labels: Tensor, *, smallest_p: float, seed: int, decides: bool
) -> tuple[BackgroundSwap, ...]:
    """Swap of every class in the pairing; of the pair when only two classes take part in it.

    Tested on margins, which do not saturate; told in probability. The two panels are the donor pairs of even and of
    odd number: no donor is in both.

    Args:
        evidence: of the composites of the pairing.
        pairing: its rows.
        labels: ``(N,)`` class of every probe.
        smallest_p: the p-value that must be resolvable.
        seed: of the sign flips.
        decides: a planned look.
    """
    margins = evidence.margins[:, 0] - evidence.margins[:, 1]
    falls = evidence.probabilities[:, 0] - evidence.probabilities[:, 1]
    groups = by_class(pairing, labels, usable=margins.isfinite() & falls.isfinite())

    def p_of(rows: Rows, smallest: float) -> float:
        return sign_flip_p_value(rows.pair_means(margins), smallest_p=smallest, seed=seed)

    def panels(rows: Rows) -> tuple[Rows, Rows]:
        return rows.of_panel(0), rows.of_panel(1)

    def swap(rows: Rows, p_value: float, panel_p_values: tuple[float, float]) -> BackgroundSwap:
        gap, standard_error = spread(rows.pair_means(falls))
        margin_gap, margin_error = spread(rows.pair_means(margins))
        first, second = (spread(panel.pair_means(falls))[0] for panel in panels(rows))
        recipients, mean_falls = rows.recipient_means(falls)
        return BackgroundSwap(
            classes=rows.classes,
            counts=rows.counts,
            gap=gap,
            standard_error=standard_error,
            margin_gap=margin_gap,
            margin_standard_error=margin_error,
            p_value=p_value,
            panel_gaps=(first, second),
            panel_p_values=panel_p_values,
            recipients=recipients,
            falls=mean_falls,
            decides=decides,
        )

    found = [(p_of(g, smallest_p), [p_of(panel, _PANEL_RESOLUTION) for panel in panels(g)]) for g in groups.single]
    if groups.pair is not None:
        first, second = (pair_p_value([p[i] for _, p in found]) for i in (0, 1))
        return (swap(groups.pair, pair_p_value([p for p, _ in found]), (first, second)),)
    return tuple(swap(g, p, (a, b)) for g, (p, (a, b)) in zip(groups.single, found, strict=True))
