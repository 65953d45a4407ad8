"""P-values of the background contrast on nets that are clean by construction: uniform, or conservative."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import arguments, keep
from torch.nn import functional as F

from camdebug import ProbeSet
from camdebug.cam.borrow import borrowed
from camdebug.cam.precision import ModelPrecision
from camdebug.demo.data import CLASS_NAMES, AnnotatedDigits, draw_scenes, draw_tags
from camdebug.demo.model import small_cnn
from camdebug.observe import Observer


def p_values(seed: int, *, epochs: int) -> list[float]:
    """Train a net on pictures whose tags and backgrounds are independent of the class; one p-value a class."""
    torch.manual_seed(seed)
    scenes, held_out = draw_scenes(1000, seed=seed, held_out=False), draw_scenes(600, seed=seed, held_out=True)
    train = AnnotatedDigits(scenes, draw_tags(scenes.label, strength=0.0, seed=seed))
    probes = ProbeSet.from_dataset(
        AnnotatedDigits(held_out, draw_tags(held_out.label, strength=0.0, seed=seed + 1)), per_class=40, seed=seed
    )
    net = small_cnn()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(train)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(net(train.images[rows]), train.labels[rows]).backward()
            optimiser.step()
    with borrowed(net):
        record = Observer(probes, seed=seed).look(net, ModelPrecision(net), epoch=0, looks_left=20)
    assert len(record.contrasts) == len(CLASS_NAMES)
    return [c.p_value for c in record.contrasts]


def main() -> None:
    options = arguments("p-values under the null", runs=40, epochs=4)
    found: list[float] = []
    for seed in range(options.runs):
        found += p_values(seed, epochs=options.epochs)
        print(f"run {seed + 1}/{options.runs}: mean p so far {np.mean(found):.3f}", flush=True)
    shares: dict[str, Any] = {
        f"share_at_or_below_{q}": round(float(np.mean(np.array(found) <= q)), 4) for q in (0.01, 0.05, 0.1, 0.5)
    }
    figures = {"runs": options.runs, "p_values": len(found), "mean": round(float(np.mean(found)), 4), **shares}
    print(figures)
    keep(options.json, figures)


if __name__ == "__main__":
    main()
