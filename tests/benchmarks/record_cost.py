"""What the record on disk costs: time of a write in plain forwards of the same pictures, and bytes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from common import arguments, keep, paired_ratios, spread
from torch import nn

from camdebug import ProbeSet
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.observe import Observer, observer
from camdebug.records import EpochRecord
from camdebug.store import Manifest, RecordWriter, load_record

SIDES = {"7x7": 28, "14x14": 56}
"""Of pictures that give a small network these grids: what a record takes does not depend on the network's depth."""


def small_net() -> nn.Module:
    stage = nn.Conv2d(3, 16, 4, stride=4), nn.ReLU()
    return nn.Sequential(*stage, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)).eval()


def probe_set(pictures: int, side: int = 224) -> ProbeSet:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(pictures, 2, generator=generator) * side * 0.45
    sides = (0.27 + torch.rand(pictures, 2, generator=generator) * 0.27) * side
    images = torch.rand(pictures, 3, side, side, generator=generator)
    return ProbeSet(images, torch.arange(pictures) % 2, torch.cat([corners, corners + sides], 1))


def planned_look(net: nn.Module, probes: ProbeSet) -> EpochRecord:
    """A look that measures all there is; a net on noise has learned no class, so it is said to have."""
    truth = observer.learned_classes
    observer.learned_classes = lambda labels, _: dict.fromkeys(labels.tolist(), True)
    with borrowed(net):
        found = Observer(probes).look(net, ModelPrecision(net), epoch=0, looks_left=1)
    observer.learned_classes = truth
    assert found.contrasts
    assert found.swaps
    return found


def manifest_of(probes: ProbeSet) -> Manifest:
    return Manifest(
        run_id="benchmark",
        method="hirescam",
        layer="layer4",
        layer_reason="for the benchmark",
        weights="current",
        probe_fingerprint=probes.fingerprint,
        probes=len(probes),
        source_ids=probes.source_ids,
        class_names=probes.class_names,
        class_slugs=probes.class_names,
        seed=0,
        alpha=0.05,
        every_n_epochs=1,
    )


def size_of(record: EpochRecord, probes: ProbeSet, epochs: int) -> dict[str, Any]:
    """Bytes of a record in which every look is a planned one, which hold the most."""
    with tempfile.TemporaryDirectory() as folder:
        writer = RecordWriter.open(Path(folder) / "record", manifest_of(probes))
        for epoch in range(epochs):
            writer.write(replace(record, epoch=epoch), step=epoch)
        writer.finish("completed")
        assert len(load_record(writer.folder).epochs) == epochs
        first = {path.name: path.stat().st_size for path in (writer.folder / "epochs" / "000000").iterdir()}
        total = sum(path.stat().st_size for path in writer.folder.rglob("*") if path.is_file())
    return {"probes": len(probes), "epochs": epochs, "total": total, "an epoch": sum(first.values()), "files": first}


def main() -> None:
    options = arguments("what the record on disk costs", rounds=5, epochs=30)
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=2).eval()
    few, pictures = probe_set(40, SIDES["7x7"]), probe_set(40).images
    look = planned_look(small_net(), few)
    figures: dict[str, Any] = {"bytes": {}}
    with tempfile.TemporaryDirectory() as folder:
        writer = RecordWriter.open(Path(folder) / "record", manifest_of(few))
        epochs = iter(range(10**6))

        def write() -> None:
            writer.write(replace(look, epoch=next(epochs)), step=0)

        def forward() -> None:
            with torch.inference_mode():
                net(pictures)

        ratios = paired_ratios(forward, {"write": write}, {"write": options.rounds})["write"]
        writer.finish("completed")
    figures["write in plain forwards"] = {"network": "resnet18", "probes": len(few), **_finer(spread(ratios), ratios)}
    print(f"a write of {len(few)} probes: {figures['write in plain forwards']}")
    figures["bytes"]["40 probes, 7x7"] = size_of(look, few, 1)
    for grid, side in SIDES.items():
        many = probe_set(64, side)
        found = planned_look(small_net(), many)
        assert found.label_maps.maps.shape == (64, side // 4, side // 4)
        figures["bytes"][f"64 probes, {grid}"] = size_of(found, many, options.epochs)
    for name, size in figures["bytes"].items():
        print(f"{name:28} {size['an epoch']:8} bytes an epoch, {size['total']:9} in {size['epochs']} epochs")
    keep(options.json, figures)


def _finer(about: dict[str, float], ratios: list[float]) -> dict[str, float]:
    """Three decimals are too few for a small share."""
    ordered = sorted(ratios)
    return {
        **about,
        "median": round(ordered[len(ordered) // 2], 5),
        "max": round(ordered[-1], 5),
        "min": round(ordered[0], 5),
    }


if __name__ == "__main__":
    main()
