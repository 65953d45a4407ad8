"""Heat at a fixed place: one more pass, over the rolled pictures."""

from __future__ import annotations

from torch import Tensor

from camdebug.cam.explain import Recipe
from camdebug.cam.lens import Lens
from camdebug.measures.place import RolledPictures, coarsest_grid, draw_shifts, place_locks
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import Heatmaps, PlaceLock


def find_places(
    lens: Lens, recipe: Recipe, probes: ProbeSet, label_maps: Heatmaps, cover: Tensor, *, seed: int
) -> tuple[PlaceLock, ...]:
    """The place of each class where its heat stays most; nothing on grids too coarse to tell.

    Call inside ``borrowed(model)``.

    Args:
        lens: what is looked through.
        recipe: how the maps are made.
        probes: the probe set.
        label_maps: of this look.
        cover: ``(N, h, w)``, share of each cell that the object covers.
        seed: of the rolls.
    """
    if len(label_maps.grid) != 2 or min(label_maps.grid) < coarsest_grid(annotated=probes.annotated):
        return ()
    rolled = RolledPictures(probes.images, draw_shifts(len(probes), label_maps.grid, seed=seed), label_maps.grid)
    (found,) = recipe.maps(lens, rolled, [probes.labels])
    return place_locks(label_maps.maps, found.maps, probes.labels, cover=cover if probes.annotated else None)
