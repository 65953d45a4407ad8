"""Heat at a fixed place: one more pass, over the rolled pictures."""

from __future__ import annotations

from torch import Tensor

from camdebug.cam.engine import explain
from camdebug.cam.lens import Lens
from camdebug.measures.place import RolledPictures, coarsest_grid, draw_shifts, place_locks
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import Heatmaps, PlaceLock


def find_places(
    lens: Lens, probes: ProbeSet, label_maps: Heatmaps, cover: Tensor, *, seed: int
) -> tuple[PlaceLock, ...]:
    """The place of each class where its heat stays most; nothing on grids too coarse to tell.

    Call inside ``borrowed(model)``.

    Args:
        lens: what is looked through.
        probes: the probe set.
        label_maps: of this look.
        cover: ``(N, h, w)``, share of each cell that the object covers.
        seed: of the rolls.
    """
    if min(label_maps.grid) < coarsest_grid(annotated=probes.annotated):
        return ()
    rolled = RolledPictures(probes.images, draw_shifts(len(probes), lens.layer.grid, seed=seed), lens.layer.grid)
    (found,) = explain(lens, rolled, [probes.labels], [label_maps.method])
    maps = found[label_maps.method].maps
    return place_locks(label_maps.maps, maps, probes.labels, cover=cover if probes.annotated else None)
