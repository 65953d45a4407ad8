"""The demo from start to end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from camdebug.demo.summary import closing_words, summary, table, write_summary
from camdebug.demo.twins import RECORDS, DemoError, Twin, train_twin
from camdebug.render.colour import density
from camdebug.render.filmstrip import Frame, contact_sheet, draw_filmstrip
from camdebug.render.picture import find_colours, to_pictures

SUMMARY, FILMSTRIP = "summary.json", "filmstrip.png"
_HEADINGS = {
    "planted": "planted shortcut: the corner tag's colour gives the digit away",
    "clean": "clean twin: same digits, same photographs, tag colours at random",
}


def run_demo(output: Path, *, seed: int, epochs: int, with_wandb: bool) -> None:
    """Train both twins, show what was found, and write ``summary.json`` and ``filmstrip.png``.

    Args:
        output: folder to write to; must be new, empty, or an earlier demo's.
        seed: of data, weights and order.
        epochs: of each twin.
        with_wandb: also log to W&B, offline.

    Raises:
        DemoError: when the folder holds something else, or a look was lost.
    """
    _claim(output)
    started = time.monotonic()
    print("camdebug demo: two networks learn handwritten digits on photographs, each picture with a coloured tag.")
    print("In the planted twin the tag's colour gives the digit away; in the clean twin it is random.\n", flush=True)
    twins = [train_twin(name, output=output, seed=seed, epochs=epochs, with_wandb=with_wandb) for name in _HEADINGS]
    _show(twins)
    write_summary(output / SUMMARY, summary(twins, seed=seed, epochs=epochs))
    _write_filmstrip(output / FILMSTRIP, twins)
    print(f"\n{time.monotonic() - started:.0f} s. Look at {output / FILMSTRIP}, and open the dashboards with:")
    print(f"  tensorboard --logdir {output / 'tensorboard'} --samples_per_plugin images=9999")


def _claim(output: Path) -> None:
    """An earlier demo's files are replaced; anything else is left alone."""
    if output.exists() and not output.is_dir():
        raise DemoError(f"{output} is a file; choose another --output")
    if output.is_dir() and any(output.iterdir()) and not (output / SUMMARY).exists():
        raise DemoError(f"{output} holds files that are not a demo's; choose another --output")
    _remove_event_files(output / "tensorboard")
    try:
        if (output / RECORDS).is_dir():
            shutil.rmtree(output / RECORDS)
        output.mkdir(parents=True, exist_ok=True)
        write_summary(output / SUMMARY, {"state": "running"})
    except OSError as error:
        raise DemoError(f"cannot write to {output} ({error.strerror}); choose another --output") from error


def _remove_event_files(folder: Path) -> None:
    """TensorBoard would draw the events of two runs in one folder as one."""
    for path in folder.glob("*/events.out.tfevents.*"):
        path.unlink()


def _show(twins: Sequence[Twin]) -> None:
    for twin in twins:
        print(f"\n{twin.name} twin after {len(twin.records)} epochs")
        print(table(twin))
    print("\n" + closing_words(twins))
    first = next((text for twin in twins for text in twin.alerts), None)
    if first is not None:
        total = sum(len(twin.alerts) for twin in twins)
        print(f"\nThe first of {total} alerts, as a training would have shown it:\n  {first}")


def _write_filmstrip(path: Path, twins: Sequence[Twin], *, rows: int = 3) -> None:
    """The same probes in both twins, the ones where the planted twin leans most on the background first."""
    from PIL import Image

    chosen = _telling_probes(twins[0], rows)
    strips = [(_HEADINGS[twin.name], _strip(twin, probe)) for twin in twins for probe in chosen]
    sheet = contact_sheet(strips, legend=True)
    draft = path.with_suffix(".tmp")
    Image.fromarray(sheet).save(draft, format="PNG", optimize=True)
    draft.replace(path)


def _telling_probes(twin: Twin, rows: int) -> list[int]:
    """Per class the valid probe with the densest background; classes with the densest first."""
    scores = twin.records[-1].scores
    ratio = torch.where(scores.valid, scores.log_density_ratio, -torch.inf)
    best = [
        int((torch.where(twin.probes.labels == k, ratio, -torch.inf)).argmax())
        for k in range(len(twin.probes.class_names))
    ]
    return sorted(best, key=lambda i: -float(ratio[i]))[:rows]


def _strip(twin: Twin, probe: int) -> NDArray[np.uint8]:
    probes = twin.probes
    colours = find_colours(probes.images, probes.mean, probes.std)
    frames = [
        Frame(
            record.epoch,
            density(record.label_maps.maps[probe][None])[0],
            float(record.scores.outside_mass[probe]) if bool(record.scores.valid[probe]) else None,
            bool(record.label_maps.correct[probe]),
        )
        for record in twin.records
    ]
    return draw_filmstrip(
        to_pictures(probes.images[probe][None], colours)[0],
        frames,
        probes.boxes[probe],
        title=f"#{probe} {probes.class_names[int(probes.labels[probe])]}",
        chance=float(1 - twin.records[-1].scores.area_fraction[probe]),
        legend=False,
    )
