"""Where maps are made and where background evidence is measured, in words: not every method reads the layer."""

from __future__ import annotations

from camdebug.cam.explain import Recipe
from camdebug.cam.methods.registry import needs_layer
from camdebug.cam.target.layers import TargetLayer

Grid = tuple[int, ...]


def where_maps_are(recipe: Recipe, layers: tuple[TargetLayer, ...], grid: Grid, size: Grid) -> str:
    """To be said after the method's name.

    Args:
        recipe: how the maps are made.
        layers: the target layers.
        grid: of the maps, in cells.
        size: of the pictures, in pixels.
    """
    if not needs_layer(recipe.method):
        return f"at the picture's size ({_cells(grid)})" if grid == size else f"with maps of {_cells(grid)} cells"
    names = ", ".join(layer.name for layer in layers)
    finer = "" if grid == layers[0].grid else f" with maps of {_cells(grid)} cells"
    return f"on {names} ({layers[0].reason}){finer}"


def where_evidence_is(recipe: Recipe, layers: tuple[TargetLayer, ...]) -> str | None:
    """Where background evidence is measured, a clause; ``None`` where the maps tell, being HiResCAM's at one layer."""
    if recipe.name == "hirescam" and len(layers) == 1:
        return None
    reason = "" if needs_layer(recipe.method) else f" ({layers[0].reason})"
    return f"background evidence is HiResCAM's at {layers[0].name}{reason}"


def reason_for(recipe: Recipe, layer: TargetLayer, grid: Grid) -> str:
    """Why that layer, and, where its grid is not that of the maps, which one that is.

    Args:
        recipe: how the maps are made.
        layer: the first target layer.
        grid: of the maps, in cells.
    """
    if not needs_layer(recipe.method):
        return f"{layer.reason}; not read by {recipe.name}, whose maps have {_cells(grid)} cells"
    return layer.reason if grid == layer.grid else f"{layer.reason}; maps of {_cells(grid)} cells"


def _cells(grid: Grid) -> str:
    return "x".join(map(str, grid))
