"""One picture of the results: AUROC of every measure, power against the true gap, false alarms, p-values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.benchmarks.detection.intervals import rate
from tests.benchmarks.detection.p_values import LEVELS
from tests.benchmarks.detection.units import ALARMS, Unit, positives

# Okabe and Ito's colours, told apart by people of any colour vision.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#E69F00", "#009E73", "#999999"
_LEVEL_COLOURS: Final = dict(zip(ALARMS, (_GREY, _ORANGE, _BLUE), strict=True))
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
}


def draw(figures: dict[str, Any], found: Sequence[Unit], path: Path) -> None:
    """Write the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        (measures, power), (alarms, p_values) = figure.subplots(2, 2)
        _measures(measures, figures["auroc"])
        _power(power, positives(found, -np.inf))
        _alarms(alarms, figures["false_alarms"])
        _p_values(p_values, figures["p_values_of_clean_runs"])
        figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})


def _measures(axes: Axes, auroc: dict[str, Any]) -> None:
    places, lowest = np.arange(len(auroc)), 0.45
    for offset, gap, colour, label in (
        (-0.18, "large", _BLUE, "true gap of .2 or more"),
        (0.18, "small", _ORANGE, "true gap from .05 to .2"),
    ):
        found = [both[gap] for both in auroc.values()]
        values = [one["value"] for one in found]
        axes.hlines(places + offset, *np.array([one["interval"] for one in found]).T, color=colour, linewidth=1.5)
        axes.plot(values, places + offset, "o", color=colour, markersize=4, label=label)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.3f}",
                (1, place + offset),
                (4, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                color=colour,
                fontsize=7,
            )
        lowest = min(lowest, *(one["interval"][0] for one in found))
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.set(yticks=places, yticklabels=list(auroc), xlim=(lowest - 0.02, 1.01))
    axes.set(xlabel="AUROC against clean runs, 95 % intervals (dotted: chance)")
    axes.invert_yaxis()
    axes.set_title("Which measure tells reliance from none", loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)


def _power(axes: Axes, planted: Sequence[Unit]) -> None:
    edges = np.array([-1.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.01])
    names = ["< .02", ".02", ".05", ".1", ".2", ".4", "≥ .7"]
    for level, colour in _LEVEL_COLOURS.items():
        bins = [[u.raised(level) for u in planted if low <= u.peak_gap < high] for low, high in pairwise(edges)]
        rates = [rate(sum(b), len(b)) if b else None for b in bins]
        known = [(i, r) for i, r in enumerate(rates) if r]
        if not known:
            continue
        places = np.array([i for i, _ in known]) + 0.08 * (ALARMS.index(level) - 1)  # beside, not upon each other
        values = np.array([r["value"] for _, r in known])
        spread = np.abs(np.array([r["interval"] for _, r in known]).T - values)
        axes.errorbar(places, values, spread, color=colour, marker="o", capsize=2, label=_named(level))
    axes.set(xticks=range(len(names)), xticklabels=names, ylim=(-0.03, 1.03))
    axes.set(xlabel="largest true gap of the class at any epoch, from", ylabel="share of classes ever raised")
    axes.set_title("Power in planted runs", loc="left")
    axes.legend(frameon=False)


def _named(level: str) -> str:
    return level if level == ALARMS[-1] else f"{level} or graver"


def _alarms(axes: Axes, table: dict[str, Any]) -> None:
    for place, level in enumerate(ALARMS):
        found = table[level]["all"]
        low, high = found["interval"]
        spread = [[found["value"] - low], [high - found["value"]]]
        axes.bar(place, found["value"], 0.6, yerr=spread, color=_LEVEL_COLOURS[level], capsize=3)
        axes.text(place, high, f" {found['value']:.1%}", ha="center", va="bottom")
    count = table["confirmed"]["all"]["count"]
    axes.axhline(0.05, color="black", linewidth=0.8, linestyle=":")
    axes.set(xticks=range(len(ALARMS)), xticklabels=[_named(level).replace(" ", "\n", 1) for level in ALARMS])
    axes.set(ylabel="share of runs ever alarmed (dotted: .05)")
    axes.margins(y=0.15)
    axes.set_title(f"False alarms in {count} clean runs", loc="left")


def _p_values(axes: Axes, table: dict[str, Any]) -> None:
    """Shares over what they may be at most, for a share on its own hardly moves off the diagonal."""
    for offset, name, looks, colour, marker in (
        (0.94, "contrast", "unplanned", _GREEN, "s"),
        (1.06, "swap", "planned", _BLUE, "o"),
    ):
        shares = table.get(name, {}).get(looks, {})
        found = {float(k.rsplit("_", 1)[1]): v for k, v in shares.items() if k.startswith("share")}
        if found:
            levels = np.array(list(found))
            values = np.array([v["value"] for v in found.values()]) / levels
            low, high = np.array([v["interval"] for v in found.values()]).T / levels
            spread = [np.maximum(values - low, 0), np.maximum(high - values, 0)]
            label = f"{name}, {looks} looks"
            axes.errorbar(levels * offset, values, spread, color=colour, marker=marker, capsize=2, ls="", label=label)
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="q", ylabel="share of p-values up to q, over q")
    axes.set(xticks=LEVELS, xticklabels=[f"{q:g}" for q in LEVELS], ylim=(0, max(2, axes.get_ylim()[1])))
    axes.minorticks_off()
    axes.set_title("P-values of clean runs (dotted: uniform)", loc="left")
    axes.legend(frameon=False, loc="lower right")
