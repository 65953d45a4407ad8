"""camdebug shows where a model looks while it trains, and says when it leans on the background.

The data flows one way::

    probe set -> CAM engine -> measures -> background contrast -> verdict -> dashboards

* :class:`ProbeSet` (``camdebug.probe``): the fixed, annotated pictures that are looked at again and again.
* :func:`compute_cams` (``camdebug.cam``): class activation maps, every gradient method from one pass.
* ``CAMMonitor(...).doctor(model)`` (``camdebug.doctor``): a dry run that says what looks will do and refuse.
* ``camdebug.measures``: how much heat lies outside the object, with its chance level.
* ``camdebug.background``: the same objects on swapped backgrounds; what changes is owed to the background.
* ``camdebug.verdict``: what may be said about a class, in words, with error control over the whole run.
* :class:`CAMMonitor` (``camdebug.callbacks``): the Lightning callback that schedules all this.
* :func:`load_record` (``camdebug.store``): what a run has left on disk.
* :func:`audit` (``camdebug.auditing``): the same questions to a trained model, once, over a whole dataset.

Nothing heavy is imported before it is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camdebug.auditing.audit import audit as audit
    from camdebug.callbacks.cam_monitor import CAMMonitor as CAMMonitor
    from camdebug.cam.engine import compute_cams as compute_cams
    from camdebug.cam.engine import compute_top_cams as compute_top_cams
    from camdebug.cam.methods.registry import method_names as method_names
    from camdebug.cam.model.detection import MatchedBoxScore as MatchedBoxScore
    from camdebug.cam.model.segmentation import RegionScore as RegionScore
    from camdebug.cam.options import MapOptions as MapOptions
    from camdebug.measures.localisation import localisation_scores as localisation_scores
    from camdebug.probe.boxes import coverage as coverage
    from camdebug.probe.boxes import mask_coverage as mask_coverage
    from camdebug.probe.probe_set import ProbeSet as ProbeSet
    from camdebug.records import Heatmaps as Heatmaps
    from camdebug.records import Level as Level
    from camdebug.render.heat import draw_heat as draw_heat
    from camdebug.store.reader import load_record as load_record
    from camdebug.verdict.alerts import Alert as Alert

__version__ = "0.1.0"

_HOME = {
    "Alert": "camdebug.verdict.alerts",
    "CAMMonitor": "camdebug.callbacks.cam_monitor",
    "Heatmaps": "camdebug.records",
    "Level": "camdebug.records",
    "MapOptions": "camdebug.cam.options",
    "MatchedBoxScore": "camdebug.cam.model.detection",
    "ProbeSet": "camdebug.probe.probe_set",
    "RegionScore": "camdebug.cam.model.segmentation",
    "audit": "camdebug.auditing.audit",
    "compute_cams": "camdebug.cam.engine",
    "compute_top_cams": "camdebug.cam.engine",
    "coverage": "camdebug.probe.boxes",
    "draw_heat": "camdebug.render.heat",
    "load_record": "camdebug.store.reader",
    "localisation_scores": "camdebug.measures.localisation",
    "mask_coverage": "camdebug.probe.boxes",
    "method_names": "camdebug.cam.methods.registry",
}

__all__ = [
    "Alert",
    "CAMMonitor",
    "Heatmaps",
    "Level",
    "MapOptions",
    "MatchedBoxScore",
    "ProbeSet",
    "RegionScore",
    "audit",
    "compute_cams",
    "compute_top_cams",
    "coverage",
    "draw_heat",
    "load_record",
    "localisation_scores",
    "mask_coverage",
    "method_names",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'camdebug' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
