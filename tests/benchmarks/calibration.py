"""P-values of the background contrast on nets that are clean by construction: uniform, or conservative."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from common import arguments, keep
from torch.nn import functional as F

from camdebug import ProbeSet
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.demo.data import CLASS_NAMES, AnnotatedDigits, Scenes, draw_scenes, draw_tags
from camdebug.demo.model import small_cnn
from camdebug.observe import Observer


def placed_by_class(scenes: Scenes) -> Scenes:
    """Every class in its own place and size: what boxes look like is no background, and must not raise an alarm."""
    size = 18 + 2 * scenes.label
    jitter = scenes.noise % 4
    return replace(scenes, size=size, x=(scenes.label % 2) * 14 + jitter, y=(scenes.label // 2) * 7 + jitter)


def p_values(seed: int, *, epochs: int) -> list[float]:
    """Train a net on pictures whose tags and backgrounds are independent of the class; one p-value a class.

    In every other run the object's place and size depend on the class.
    """
    torch.manual_seed(seed)
    scenes, held_out = draw_scenes(1000, seed=seed, held_out=False), draw_scenes(600, seed=seed, held_out=True)
    if seed % 2:
        scenes, held_out = placed_by_class(scenes), placed_by_class(held_out)
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
    options = arguments("p-values under the null", runs=30, epochs=4)
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
