"""What is said when a training begins."""

from __future__ import annotations

from camdebug.cam.target.layers import TargetLayer
from camdebug.observe import Observer
from camdebug.observe.whereabouts import where_evidence_is, where_maps_are

GIVES_PROBABILITIES = (
    "camdebug takes the model's scores for logits, but they look like probabilities (0 or more, rows sum to 1). "
    "Evidence and swaps come out too small: return logits from forward, leave softmax to the loss."
)

NOT_THE_SAME_START = "camdebug starts afresh: not every process could read its state in the checkpoint."


def opening_words(observer: Observer, layer: TargetLayer, *, name: str, weights: str, every: int, drawn: int) -> str:
    """The choices in a line.

    Args:
        observer: that looks.
        layer: that was chosen.
        name: of the monitor.
        weights: which ones looks see.
        every: so many epochs there is a look.
        drawn: so many probes are drawn.
    """
    probes, testable = observer.probes, observer.testable_classes
    judged = (
        f"{len(testable)} of {len(probes.class_names)} classes can be judged"
        if testable
        else "no background can be tested (that takes boxes of 2 to 70 % of the picture and 20 probes in a class)"
    )
    grid, recipe, layers = observer.grid or layer.grid, observer.recipe, observer.layers
    evidence = where_evidence_is(recipe, layers) if testable else None
    return (
        f"{name}: {len(probes)} probes of {len(probes.class_names)} classes, {observer.method} "
        f"{where_maps_are(recipe, layers, grid, probes.image_size)}, {weights} weights, every {every} epoch(s); "
        f"{f'{evidence}; ' if evidence else ''}{judged}; {drawn} probes are drawn. Probe set {probes.fingerprint[:12]}."
    )
