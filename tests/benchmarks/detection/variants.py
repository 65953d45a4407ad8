"""``python -m tests.benchmarks.detection.variants``: the choices behind contrast and swap, each against another way.

Weak shortcuts (strength .6 and .8) and clean runs of the full study's design with more than two classes, ten epochs
each. Every variant reads the same networks, once, after the last epoch, and differs from the product in one thing
(``VARIANTS``). A filled box can be seen, so filled donors and the product also read nets trained on clean pictures
whose boxes depend on the class. Resumable.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from camdebug import ProbeSet
from camdebug.background.composites import Composites
from camdebug.background.grouping import by_class, spread
from camdebug.background.pairing import Pairing, pair
from camdebug.background.sign_flip import sign_flip_p_value
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.one_pass import signed_hirescam
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.passes import Chunk, Pictures
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.search import find_target_layer
from camdebug.observe.backgrounds import OBJECTS_BEFORE_DONORS, Backgrounds
from tests.benchmarks.detection import runs, units, work
from tests.benchmarks.detection.cues import SIZE, places
from tests.benchmarks.detection.intervals import NOTHING, Figure, over_runs
from tests.benchmarks.detection.nets import build
from tests.benchmarks.detection.p_values import calibration
from tests.benchmarks.detection.ranking import auroc, weighted_auroc
from tests.benchmarks.detection.study import CLEAN, PLANTED, study
from tests.benchmarks.detection.units import Unit
from tests.benchmarks.detection.worlds import Scenes, World

PRODUCT, FILLED = "product", "filled"
PLACED: Final = "placed"  # the part of clean runs whose boxes depend on the class
CHOSEN_ON: Final = 115
"""So many runs of each part are in ``results/detection_variants.json``, by which the product's choices were made."""
_EPOCHS, _WEAK, _CHUNK, _CANDIDATES, _SMALLEST_P = 10, 0.8, 64, 12, 1e-3
_MEASURES: Final = ("contrast / SE", "swap margin / SE", "verdict", "swap gap")
_COLUMNS: Final = (
    *("contrast_value", "contrast_standard_error", "contrast_p_value"),
    *("swap_margin_gap", "swap_margin_standard_error", "swap_p_value", "swap_gap"),
)


class PlacedByClass(World):
    """Every class has its own box: size and place depend on the class, give or take a pixel.

    Cues lie anywhere, whatever the box, which hides what it covers. So the background behind the box is independent of
    the class, and the runs are clean by construction.
    """

    def draw(self, per_class: int, *, held_out: bool, again: int = 0) -> Scenes:
        scenes = super().draw(per_class, held_out=held_out, again=again)
        rng = np.random.default_rng([self.seed, 5, int(held_out), again])
        label, count = scenes.label, len(scenes)
        room = SIZE - 1 - (side := self.side - label % 3)
        left = room * (label % 3) // 2 + rng.integers(2, size=count)
        top = room * (label // 3) // 3 + rng.integers(2, size=count)
        cue_left, cue_top = places(self.kind, count, rng)
        return replace(scenes, side=side, left=left, top=top, cue_left=cue_left, cue_top=cue_top)


class PlacedConfig(runs.RunConfig):
    """A run in such a world."""

    @property
    def world(self) -> World:
        return PlacedByClass(self.kind, self.classes, self.side, self.seed)


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network and what it is watched with; ``panels`` are the product's pairs of donors."""

    net: nn.Module
    layer: TargetLayer
    probes: ProbeSet
    panels: Pairing
    seed: int


def margin(logits: Tensor, labels: Tensor, others: Tensor) -> Tensor:
    """``(N,)``: logit of the label minus logit of another class, from ``(N, K)``."""
    return (logits.gather(1, labels[:, None]) - logits.gather(1, others[:, None]))[:, 0]


Score = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Of logits ``(n, K)`` and classes ``(n,)``: of the donor under test, of the other donor, of the object."""


def over_donor(logits: Tensor, tested: Tensor, other: Tensor, _object: Tensor) -> Tensor:
    """The product's margin."""
    return margin(logits, tested, other)


def over_all(logits: Tensor, tested: Tensor, _other: Tensor, _object: Tensor) -> Tensor:
    """Over all other classes, log-sum-exp."""
    rest = logits.scatter(1, tested[:, None], -torch.inf)
    return logits.gather(1, tested[:, None])[:, 0] - rest.logsumexp(1)


def object_over_donors(logits: Tensor, tested: Tensor, other: Tensor, shown: Tensor) -> Tensor:
    """Of the object's class over both donors' classes: alike for either, so no shortcut moves it in the mean."""
    return (margin(logits, shown, tested) + margin(logits, shown, other)) / 2


def differences(subject: Subject, pairing: Pairing, score: Score, pictures: Pictures | None = None) -> Tensor:
    """Same-class minus other-class background in each of M rows: evidence, margin and probability, ``(3, M)`` float64.

    With the product's margin the differences of ``gather_evidence``. Probability is that of the class under test.
    """
    pictures = Composites(subject.probes, pairing) if pictures is None else pictures
    labels, cover = subject.probes.labels, subject.probes.coverage(subject.layer.grid)
    outside = 1 - cover[pairing.recipients].repeat_interleave(2, dim=0)
    classes = [labels[p].repeat_interleave(2) for p in (pairing.same, pairing.other, pairing.recipients)]

    def decision(scores: ClassScores, rows: slice) -> Tensor:
        return score(scores.matrix, *(k[rows] for k in classes))

    def take(chunk: Chunk) -> tuple[Tensor, Tensor, Tensor]:
        cells = signed_hirescam(chunk.view.activation, chunk.view.gradients[0]).double() * outside[chunk.rows]
        likely = chunk.scores.probability(classes[0][chunk.rows])
        return cells.sum((1, 2)), decision(chunk.scores, chunk.rows), likely

    lens = Lens(ModelUse().on(subject.net), (subject.layer,), _CHUNK)
    found = torch.stack(lens.over(pictures, [decision], take))
    return -found.reshape(3, len(pairing), 2).diff(dim=2)[..., 0]


def before_other_classes(subject: Subject) -> Pairing:
    """The product's pairs of donors, as often as there, before objects of neither donor's class.

    Of a dozen drawn by chance for each pair those that leave the most background common to all three. None of them
    lends its background to any pair of the class under test.
    """
    panels, labels, rng = subject.panels, subject.probes.labels, np.random.default_rng([subject.seed, 6])
    free, recipients = 1 - subject.probes.annotated_masks().flatten(1).float(), panels.recipients.clone()
    for same, other in torch.unique(torch.stack([panels.same, panels.other]), dim=1).T:
        idle = (labels != labels[same]) & (labels != labels[other])
        idle[panels.other[labels[panels.same] == labels[same]]] = False
        candidates = torch.from_numpy(rng.permutation(torch.nonzero(idle).flatten().numpy())[:_CANDIDATES])
        best = (free[candidates] @ (free[same] * free[other])).argsort(descending=True)
        rows = torch.nonzero((panels.same == same) & (panels.other == other)).flatten()
        recipients[rows] = candidates[best[: len(rows)]]
    return replace(panels, recipients=recipients)


def plain_and_filled(subject: Subject) -> dict[str, tuple[Pairing, Tensor]]:
    """Rows and differences of the product, and of donors that stand all around the object's box, their own filled."""
    probes, panels = subject.probes, subject.panels
    recipient = panels.recipients.repeat_interleave(2)
    donor = torch.stack([panels.same, panels.other], 1).flatten()
    own = probes.annotated_masks()[recipient][:, None]
    filled = torch.where(own, probes.images[recipient], runs.without_objects(probes)[donor])
    pictures: dict[str, Pictures] = {PRODUCT: Composites(probes, panels), FILLED: filled}
    return {name: (panels, differences(subject, panels, over_donor, each)) for name, each in pictures.items()}


def variants(subject: Subject) -> dict[str, tuple[Pairing, Tensor]]:
    """Rows and differences of every variant in ``VARIANTS``.

    The differences in differences stay valid under sign flips: score, objects and pictured parts of a row are settled
    by classes and boxes alone, and own and other objects stand before the *same two* backgrounds. So exchanging the
    two backgrounds of a pair turns the sign of both differences, and of any fixed combination of them; a pair of donors
    stays one value of the test, and no donor is in two pairs.
    """
    probes, panels, others = subject.probes, subject.panels, before_other_classes(subject)
    both, on_others = plain_and_filled(subject), differences(subject, others, over_donor)
    own, everyone = both[PRODUCT][1], torch.ones_like(probes.labels, dtype=torch.bool)
    draw = partial(pair, probes.labels, everyone, seed=subject.seed, draw=0)
    by_chance = draw(recipients=OBJECTS_BEFORE_DONORS)
    eight = draw(recipients=2 * OBJECTS_BEFORE_DONORS, free=1 - probes.coverage((16, 16)))
    first = np.sort(np.unique(panels.same.numpy(), return_index=True)[1])  # a donor of its own class has one pair
    return {
        **both,
        "all_classes": (panels, differences(subject, panels, over_all)),
        "by_chance": (by_chance, differences(subject, by_chance, over_donor)),
        "did": (panels, own - on_others),
        "did_confidence": (panels, own - differences(subject, others, object_over_donors)),
        "any_object": (panels, (own + on_others) / 2),
        "one_object": (Pairing(*(values[first] for values in vars(panels).values())), own[:, first]),
        "eight_objects": (eight, differences(subject, eight, over_donor)),
    }


VARIANTS: Final = {
    PRODUCT: "as it is: margin over the donor's class, matched pairs, 4 objects before each, common background only",
    "all_classes": "margin over all other classes (log-sum-exp)",
    "by_chance": "donors and objects paired by chance, not by place",
    FILLED: "donors all around the object's box, their own boxes filled",
    "did": "less the same, same score, before 4 objects of third classes; twice the passes",
    "did_confidence": "less what those objects' own class does there over both donors' classes; twice the passes",
    "any_object": "the mean of before own objects and before those of third classes; twice the passes",
    "one_object": "1 object before each pair",
    "eight_objects": "8 objects before each pair; twice the passes",
}


def run(config: runs.RunConfig) -> runs.Row:
    """Train, then measure every variant once, as a look: of a placed run the product and filled donors only."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    net = build(config.net, config.grid, config.classes)
    training = runs._Training(config, net)
    for epoch in range(config.epochs):
        training.epoch(epoch)
    probes = runs._probes(config)
    net.eval()
    with borrowed(net):
        layer = find_target_layer(ModelUse().on(net), probes.images)
        subject = Subject(net, layer, probes, Backgrounds(probes, seed=config.seed).panels(), config.seed)
        found = plain_and_filled(subject) if config.part == PLACED else variants(subject)
    gaps = runs._Truth(config).gaps(net, thorough=True) if config.part == PLANTED else None
    seen = {name: {"true_gap": gaps, **_columns(*each, probes.labels, config)} for name, each in found.items()}
    return {"config": asdict(config), "epochs": list(range(config.epochs)), "variants": seen}


def _columns(pairing: Pairing, found: Tensor, labels: Tensor, config: runs.RunConfig) -> runs.Row:
    """What ``runs`` keeps of a look: a list over classes for every number. P-values of clean runs only."""
    row: runs.Row = {name: [None] * config.classes for name in _COLUMNS}
    for group in by_class(pairing, labels, usable=found.isfinite().all(0)).single:
        numbers: list[float | None] = []
        for values in map(group.pair_means, found[:2]):
            p = None if config.part == PLANTED else sign_flip_p_value(values, smallest_p=_SMALLEST_P, seed=config.seed)
            numbers += [*spread(values), p]
        for name, number in zip(_COLUMNS, [*numbers, float(group.pair_means(found[2]).mean())], strict=True):
            row[name][group.classes[0]] = runs._short(number)
    return {**row, "level": [""] * config.classes}


def plan(count: int) -> list[runs.RunConfig]:
    """So many weak runs, clean runs and placed runs, taking turns, in the full study's order."""
    every = [replace(c, epochs=_EPOCHS) for c in study("full") if c.classes > 2]
    weak, clean = ([c for c in every if c.part == p and c.strength <= _WEAK][:count] for p in (PLANTED, CLEAN))
    placed: list[runs.RunConfig] = [PlacedConfig(**{**asdict(c), "part": PLACED}) for c in clean]
    return [config for turn in zip(weak, clean, placed, strict=True) for config in turn]


def seeds_of_choices() -> frozenset[int]:
    """Of the worlds that the product's choices were made on: a seed is one run's alone in the study's design."""
    return frozenset(config.seed for config in plan(CHOSEN_ON))


def looks(rows: Iterable[runs.Row], part: str, variant: str) -> list[runs.Row]:
    """The runs of a part as a variant saw them, in the form of the study's; a placed run counts as clean."""
    mine = [row for row in rows if row["config"]["part"] == part and variant in row["variants"]]
    counted = CLEAN if part == PLACED else part
    return [{"config": {**row["config"], "part": counted}, "epochs": [row["variants"][variant]]} for row in mine]


def summary(rows: Sequence[runs.Row]) -> dict[str, Any]:
    """AUROC and shares of small p-values of every variant. ``gain``: AUROC of its verdict less the product's."""
    parts = [row["config"]["part"] for row in rows]
    figures: dict[str, dict[str, Any]] = {}
    for variant, what in VARIANTS.items():
        figures[variant] = {"what": what}
        every, plain = (units.units(looks(rows, PLANTED, v) + looks(rows, CLEAN, v)) for v in (variant, PRODUCT))
        for gap, low, high in (("large", units.LARGE, np.inf), ("small", units.SMALL, units.LARGE)):
            mine, clean = units.positives(every, low, high), units.negatives(every)
            aurocs = {name: auroc(mine, clean, units.MEASURES[name]) for name in _MEASURES}
            theirs = units.positives(plain, low, high) + units.negatives(plain)
            figures[variant][gap] = {**aurocs, "gain": _gain(mine + clean, theirs, len(mine))}
        for part in (CLEAN, PLACED):
            found = {of: calibration(looks(rows, part, variant), of) for of in ("contrast", "swap")}
            levels = [(of, q) for of in found if found[of] for q in (0.01, 0.05)]
            figures[variant][part] = {f"{of} p <= {q}": found[of][f"share_at_or_below_{q}"] for of, q in levels}
    return {"runs": {part: parts.count(part) for part in (PLANTED, CLEAN, PLACED)}, "variants": figures}


def _gain(mine: Sequence[Unit], theirs: Sequence[Unit], positive: int) -> Figure:
    if not 0 < positive < len(mine):
        return NOTHING
    truth = np.repeat([1, 0], [positive, len(mine) - positive])
    ours, base = (weighted_auroc(units.measured(group, units.verdict_score), truth) for group in (mine, theirs))
    return over_runs(lambda weights: ours(weights) - base(weights), units.runs_of(mine), count=positive)


def main() -> int:
    """Run what is missing, then report on what is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.detection.variants", description=__doc__)
    parser.add_argument("--runs", type=int, default=60, help="of each of the three parts")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".detection-runs" / "variants")
    parser.add_argument("--json", type=Path, help="keep the figures")
    options = parser.parse_args()
    configs = plan(options.runs)
    failed = work.run_all(configs, options.work, jobs=options.jobs, runner=run)
    rows = [row for config in configs if (row := work.read(options.work, config))]
    figures: dict[str, Any] = {"command": f"python -m tests.benchmarks.detection.variants --runs {options.runs}"}
    figures |= {"epochs": _EPOCHS, "package_versions": sorted({row["code"] for row in rows}), **summary(rows)}
    for part in ("large", "small", CLEAN, PLACED):
        for variant, entry in figures["variants"].items():
            print(f"{part:>6} {variant:>14}", *(f"| {n} {figure['value']:.3f}" for n, figure in entry[part].items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
