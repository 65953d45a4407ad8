"""What the demo leaves behind: a table, ``summary.json`` and ``filmstrip.png``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camdebug.demo.twins import Twin
from camdebug.numerals import number, percent
from camdebug.records import EpochRecord, Level

_COLUMNS = (
    "class",
    "heat outside",
    "uniform",
    "D (uniform 0)",
    "background evidence (chance 0)",
    "fall when swapped (chance 0)",
    "true accuracy drop (0 = none)",
    "verdict",
)


def table(twin: Twin) -> str:
    """The last look of a twin, class by class, as aligned text."""
    record = twin.records[-1]
    rows = [list(_COLUMNS)]
    for scores, verdict in zip(record.classes, record.verdicts, strict=True):
        outside, chance, ratio = scores.outside_mass, scores.chance_outside_mass, scores.log_density_ratio
        evidence, gap = verdict.background_evidence.present, verdict.swap_gap.present
        rows.append(
            [
                scores.name,
                "-" if outside is None else percent(outside),
                "-" if chance is None else percent(chance),
                "-" if ratio is None else f"{ratio:+.2f}",
                "-" if evidence is None else f"{evidence:+.2f} logits",
                "-" if gap is None else f"{100 * gap:+.0f} points",
                f"{100 * twin.accuracy_drop[scores.name]:+.0f} points",
                verdict.level.value,
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summary(twins: Sequence[Twin], *, seed: int, epochs: int) -> dict[str, Any]:
    """Everything measured, as JSON values: per twin the per-class measures and verdicts of every epoch."""
    from camdebug import __version__

    return {
        "version": __version__,
        "seed": seed,
        "epochs": epochs,
        "chance_levels": {"log_density_ratio": 0.0, "background_evidence": 0.0, "swap_gap": 0.0, "outside_lift": 1.0},
        "twins": {twin.name: _twin(twin) for twin in twins},
    }


def _twin(twin: Twin) -> dict[str, Any]:
    flagged = sorted({v.name for r in twin.records for v in r.verdicts if v.level.is_alert})
    confirmed = sorted({v.name for r in twin.records for v in r.verdicts if v.level is Level.CONFIRMED})
    return {
        "verdict": twin.records[-1].verdict.level.value,
        "flagged": bool(flagged),
        "flagged_classes": flagged,
        "confirmed_classes": confirmed,
        "first_alert_epoch": next((r.epoch for r in twin.records if any(v.level.is_alert for v in r.verdicts)), None),
        "probe_fingerprint": twin.probes.fingerprint,
        "accuracy_drop": twin.accuracy_drop,
        "alerts": twin.alerts,
        "epochs": [{"epoch": r.epoch, "classes": _classes(r)} for r in twin.records],
    }


def _classes(record: EpochRecord) -> list[dict[str, Any]]:
    return [
        {
            "name": scores.name,
            "probes": scores.probes,
            "valid_probes": scores.valid,
            "recall": scores.recall,
            "outside_mass": scores.outside_mass,
            "chance_outside_mass": scores.chance_outside_mass,
            "outside_lift": scores.outside_lift,
            "log_density_ratio": scores.log_density_ratio,
            "calibrated_log_density_ratio": scores.calibrated_log_density_ratio,
            "background_evidence": verdict.background_evidence.present,
            "swap_gap": verdict.swap_gap.present,
            "p_value": verdict.p_value,
            "budget": verdict.budget,
            "verdict": verdict.level.value,
            "severity": verdict.severity.value if verdict.severity else None,
            "reason": verdict.reason,
        }
        for scores, verdict in zip(record.classes, record.verdicts, strict=True)
    ]


def write_summary(path: Path, content: dict[str, Any]) -> None:
    """Write JSON whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


def closing_words(twins: Sequence[Twin]) -> str:
    """One sentence a twin."""
    lines = []
    for twin in twins:
        last = twin.records[-1]
        confirmed = [v for v in last.verdicts if v.level is Level.CONFIRMED]
        mean_drop = sum(twin.accuracy_drop.values()) / len(twin.accuracy_drop)
        found = last.verdict.reason.rstrip(".")
        if last.verdict.first_epoch is not None:
            found = (
                f"{len(confirmed)} of {len(last.verdicts)} classes confirmed to lean on their backgrounds, first alert "
                f"at epoch {last.verdict.first_epoch}"
            )
        lines.append(
            f"{twin.name}: {found}. Truth: another class's tag costs {number(100 * mean_drop)} points of accuracy."
        )
    return "\n".join(lines)
