"""What an examination finds, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from camdebug.cam.model.outputs import Link


@dataclass(frozen=True)
class LookPlan:
    """The looks of the training that is to come.

    Attributes:
        looks: planned ones; ``None`` when unknown.
        contrast: whether they measure background evidence and swaps.
        alpha: share of clean runs that may raise an alarm.
        seed: of donors and permutations.
    """

    looks: int | None
    contrast: bool = True
    alpha: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class ModelFacts:
    """The model as it is.

    Attributes:
        parameters: so many numbers.
        frozen: those of them that require no gradient.
        dtypes: of the parameters.
        batch_norms: BatchNorm layers, whatever their dimension.
        dropouts: dropout layers.
        pictures: shape, number format and device of one picture as it enters, such as ``(3, 224, 224) float32 on cpu``;
            ``None`` where no picture could be converted.
    """

    parameters: int
    frozen: int
    dtypes: tuple[str, ...]
    batch_norms: int
    dropouts: int
    pictures: str | None


@dataclass(frozen=True)
class OutputFacts:
    """The model's output and how it is read.

    Attributes:
        raw: the output for one picture, such as ``a tensor (1, 10)``.
        classes: how many; ``None`` when that cannot be known.
        link: how scores become probabilities.
        probabilities: the scores look like probabilities already.
    """

    raw: str
    classes: int | None
    link: Link
    probabilities: bool


@dataclass(frozen=True)
class LayerFacts:
    """A target layer.

    Attributes:
        name: dotted.
        reason: why it was chosen.
        layout: ``NCHW``, ``NHWC`` or ``tokens``.
        activation: shape of its output for one picture.
        dtype: of its output.
        grid: cells along each axis of the picture.
    """

    name: str
    reason: str
    layout: str
    activation: tuple[int, ...]
    dtype: str
    grid: tuple[int, ...]


@dataclass(frozen=True)
class HeatFacts:
    """Gradients and maps of some pictures, of the label's class, or of the predicted one without labels.

    Attributes:
        method: of the maps.
        pictures: so many.
        cells: mean share of the cells that a gradient reaches.
        channels: mean share of the channels that a gradient reaches.
        without_evidence: pictures whose map is empty.
        constant: pictures whose map is the same in every cell.
        not_finite: pictures whose activation, gradient or map is not finite.
    """

    method: str
    pictures: int
    cells: float
    channels: float
    without_evidence: int
    constant: int
    not_finite: int


@dataclass(frozen=True)
class FollowFacts:
    """Whether cells lie where their part of the picture does.

    A trial makes one corner of a picture, half of each side, brighter. It is a hit when the cells of that corner change
    most, each against its mean change for all corners.

    Attributes:
        trials: so many in which anything changed.
        hits: of them.
        chance: share of hits of a layer whose cells have nothing to do with the picture.
        exchanged: hits if rows and columns are exchanged; ``None`` where the grid has other than two axes.
    """

    trials: int
    hits: int
    chance: float
    exchanged: int | None


@dataclass(frozen=True)
class ClassBoxes:
    """The boxes of one class on the grid.

    Attributes:
        name: of the class.
        probes: so many.
        usable: probes whose boxes cover 2 to 70 % of the picture.
        too_small: probes whose boxes cover less.
        too_large: probes whose boxes cover more.
        without_box: probes that have none.
        width: median of a box in cells; ``None`` without boxes or grid.
        height: likewise.
        below_a_cell: boxes of less area than one cell.
    """

    name: str
    probes: int
    usable: int
    too_small: int
    too_large: int
    without_box: int
    width: float | None
    height: float | None
    below_a_cell: int


@dataclass(frozen=True)
class ProbeFacts:
    """What can be measured with the probes.

    Attributes:
        probes: so many.
        fingerprint: of the set.
        classes: boxes of each class.
        testable: names of the classes whose backgrounds can be tested.
        places: heat at a fixed place can be looked for; ``None`` without a grid.
        outlook: the smallest effect that can be found, in words.
    """

    probes: int
    fingerprint: str
    classes: tuple[ClassBoxes, ...]
    testable: tuple[str, ...]
    places: bool | None
    outlook: str


@dataclass(frozen=True)
class LookCost:
    """An estimate from the number of forwards, without drawing and logging.

    Attributes:
        forwards: of the probe set that a usual look takes.
        planned_forwards: the same for a planned look, the dearest kind.
        seconds: of a usual look.
        planned_seconds: of a planned look.
    """

    forwards: float
    planned_forwards: float
    seconds: float
    planned_seconds: float


@dataclass(frozen=True)
class CostFacts:
    """Time and memory of one chunk, measured.

    Attributes:
        pictures: in the chunk.
        forward_seconds: of a plain forward without gradients.
        map_seconds: of the pass that makes the maps.
        memory_bytes: that the pass takes at its peak.
        memory: what these bytes are.
        activation_bytes: of the target layer for one picture, float32.
        look: estimate of one look; ``None`` without probes.
    """

    pictures: int
    forward_seconds: float
    map_seconds: float
    memory_bytes: int
    memory: str
    activation_bytes: int
    look: LookCost | None

    @property
    def ratio(self) -> float:
        """Time of the maps over that of a forward."""
        return self.map_seconds / self.forward_seconds
