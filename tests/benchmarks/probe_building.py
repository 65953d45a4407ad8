"""Seconds to draw a probe set from many annotated pictures, by part, and how many of them were opened.

python tests/benchmarks/probe_building.py --pictures 10000 --probes 200
"""

import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from common import arguments, keep, seconds
from PIL import Image
from torchvision.transforms import v2

from camdebug import ProbeSet
from camdebug.probe import drawing, from_source, placing
from camdebug.sources.voc import VocFolder

CLASSES = ("ant", "bee", "cow", "dog", "eel")
SIZE = (240, 320)
STOCK = 40
"""Different pictures; the others are the same files under other names, each opened on its own."""


def write(root: Path, count: int) -> None:
    """A folder of Pascal VOC: one to three objects a picture, a tenth of them over 70 % of it."""
    rng = np.random.default_rng(0)
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir()
    for i in range(min(STOCK, count)):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(SIZE[::-1])
        coarse.save(root / "JPEGImages" / f"{i}.jpg", quality=85)
    for i in range(count):
        if i >= STOCK:
            (root / "JPEGImages" / f"{i}.jpg").hardlink_to(root / "JPEGImages" / f"{i % STOCK}.jpg")
        objects = "".join(_object(rng) for _ in range(rng.integers(1, 4)))
        (root / "Annotations" / f"{i}.xml").write_text(
            f"<annotation><filename>{i}.jpg</filename><size><width>{SIZE[1]}</width><height>{SIZE[0]}</height>"
            f"<depth>3</depth></size>{objects}</annotation>"
        )


def _object(rng: np.random.Generator) -> str:
    height, width = SIZE
    share = rng.uniform(0.75, 0.95) if rng.random() < 0.1 else rng.uniform(0.02, 0.4)
    h, w = height * share**0.5, width * share**0.5
    y, x = rng.uniform(0, height - h), rng.uniform(0, width - w)
    corners = "".join(
        f"<{tag}>{v:.0f}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + w, y + h), strict=True)
    )
    return f"<object><name>{CLASSES[rng.integers(len(CLASSES))]}</name><bndbox>{corners}</bndbox></object>"


class Parts:
    """Seconds and calls of functions, by a name of ours."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    @contextmanager
    def watch(self, where: object, attribute: str, name: str):
        whole = getattr(where, attribute)

        def timed(*args, **kwargs):
            started = time.perf_counter()
            try:
                return whole(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - started
                self.calls[name] += 1

        with mock.patch.object(where, attribute, timed):
            yield


def main() -> None:
    options = arguments(__doc__, pictures=10000, probes=200)
    transform = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    parts = Parts()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(folder)
        write(root, options.pictures)
        with (
            parts.watch(from_source, "read", "annotations read"),
            parts.watch(from_source, "settle_names", "names settled"),
            parts.watch(from_source, "check_annotated_boxes", "boxes checked"),
            parts.watch(from_source, "candidates", "sizes of objects"),
            parts.watch(drawing, "drawing_order", "order drawn"),
            parts.watch(placing, "open_picture", "pictures opened"),
            parts.watch(placing.Placer, "_carry", "pictures carried"),
            parts.watch(placing, "digest_of", "pixels hashed"),
            parts.watch(placing, "thumbnail_of", "thumbnails"),
        ):
            started = time.perf_counter()
            probes = ProbeSet.from_source(
                VocFolder(root), transform=transform, class_names=CLASSES, per_class=options.probes // len(CLASSES)
            )
            total = time.perf_counter() - started
        leaks = seconds(lambda: probes.leaks_into(VocFolder(root)))
    left_out = len(probes.exclusions)
    for name, value in parts.seconds.items():
        print(f"{name:20} {value:8.2f} s {parts.calls[name]:6} calls")
    opened = parts.calls["pictures opened"]
    print(f"{'all':20} {total:8.2f} s; {len(probes)} probes, {left_out} left out, {opened} pictures opened")
    print(f"{'leaks':20} {leaks:8.2f} s for {options.pictures} pictures of {SIZE[0]}x{SIZE[1]}")
    keep(
        options.json,
        {
            "seconds": {name: round(value, 2) for name, value in parts.seconds.items()},
            "all": round(total, 2),
            "pictures": options.pictures,
            "probes": len(probes),
            "left_out": left_out,
            "opened": opened,
            "leaks": round(leaks, 2),
        },
    )


if __name__ == "__main__":
    main()
