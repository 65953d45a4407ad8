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
from tests.benchmarks.detection.units import ALARMS, Unit, positives

# Okabe and Ito's colours, told apart by people of any colour vision.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#E69F00", "#009E73", "#999999"
_LEVEL_COLOURS: Final = dict(zip(ALARMS, (_GREY, _ORANGE, _BLUE), strict=True))
_STYLE: Final = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titleweight": "bold"}


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
    names = list(auroc)
    places = np.arange(len(names))
    for offset, gap, colour, label in (
        (-0.2, "large", _BLUE, "true gap of .2 or more"),
        (0.2, "small", _ORANGE, "true gap from .05 to .2"),
    ):
        values = [auroc[name][gap]["value"] for name in names]
        axes.barh(places + offset, values, 0.38, color=colour, label=label)
        for place, name, value in zip(places, names, values, strict=True):
            axes.plot(auroc[name][gap]["interval"], [place + offset] * 2, color="black", linewidth=1)
            axes.text(0.31, place + offset, f"{value:.3f}", va="center", color="white", fontsize=7)
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.set(yticks=places, yticklabels=names, xlim=(0.3, 1.0), xlabel="AUROC against clean runs (dotted: chance)")
    axes.invert_yaxis()
    axes.set_title("Who can tell", loc="left")
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
        places, values = [i for i, _ in known], np.array([r["value"] for _, r in known])
        spread = np.abs(np.array([r["interval"] for _, r in known]).T - values)
        axes.errorbar(places, values, spread, color=colour, marker="o", capsize=2, label=_named(level))
    axes.set(xticks=range(len(names)), xticklabels=names, ylim=(-0.03, 1.03))
    axes.set(xlabel="largest true gap of the class at any epoch, from", ylabel="share of classes ever raised")
    axes.set_title("Power", loc="left")
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
    axes.set(ylabel="share of clean runs ever alarmed (dotted: alpha)")
    axes.margins(y=0.15)
    axes.set_title(f"False alarms in {count} clean runs", loc="left")


def _p_values(axes: Axes, table: dict[str, Any]) -> None:
    for name, colour, marker in (("contrast", _GREEN, "s"), ("swap", _BLUE, "o")):
        shares = {float(k.rsplit("_", 1)[1]): v for k, v in table.get(name, {}).items() if k.startswith("share")}
        shares = {q: v for q, v in shares.items() if v["value"] > 0}
        if shares:
            values = np.array([v["value"] for v in shares.values()])
            low, high = np.array([v["interval"] for v in shares.values()]).T
            spread = [np.maximum(values - np.maximum(low, values / 10), 0), np.maximum(high - values, 0)]
            axes.errorbar(list(shares), values, spread, color=colour, marker=marker, capsize=2, label=name)
    axes.plot([5e-4, 1], [5e-4, 1], color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="p-value", ylabel="share as small (honest: on or below the line)")
    axes.set_title("P-values of clean runs", loc="left")
    axes.legend(frameon=False, loc="upper left")
