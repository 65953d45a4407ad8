"""Heat at a fixed place: one more pass, over the rolled pictures."""

from __future__ import annotations

from torch import Tensor, nn

from camdebug.cam.engine import explain
from camdebug.cam.layers import TargetLayer
from camdebug.cam.precision import Precision
from camdebug.measures.place import FINEST_RIM, RolledPictures, draw_shifts, place_locks
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import Heatmaps, PlaceLock

_COARSEST = 3


def find_places(
    model: nn.Module,
    layer: TargetLayer,
    probes: ProbeSet,
    label_maps: Heatmaps,
    cover: Tensor,
    precision: Precision,
    *,
    seed: int,
    chunk_size: int,
) -> tuple[PlaceLock, ...]:
    """The place of each class where its heat stays most; nothing on grids too coarse to tell.

    Call inside ``borrowed(model)``.

    Args:
        model: gives class scores.
        layer: the target layer.
        probes: the probe set.
        label_maps: of this look.
        cover: ``(N, h, w)``, share of each cell that the object covers.
        precision: how pictures enter the model.
        seed: of the rolls.
        chunk_size: pictures in one forward.
    """
    if min(label_maps.grid) < (_COARSEST if probes.annotated else FINEST_RIM):
        return ()
    rolled = RolledPictures(probes.images, draw_shifts(len(probes), layer.grid, seed=seed), layer.grid)
    (found,) = explain(model, layer, rolled, [probes.labels], [label_maps.method], precision, chunk_size=chunk_size)
    maps = found[label_maps.method].maps
    return place_locks(label_maps.maps, maps, probes.labels, cover=cover if probes.annotated else None)
