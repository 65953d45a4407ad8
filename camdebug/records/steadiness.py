"""How steady maps are: over epochs, under small changes of the picture, and against what means nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Similarity:
    """How alike pairs of maps are. ``None`` where no pair can be compared: nothing is imputed.

    Attributes:
        jensen_shannon: mean divergence of the two maps' mass in [0, 1] bits; 0 for maps of the same shape.
        spearman: mean rank correlation of their cells in [-1, 1], over the pairs in which neither map is flat.
        count: pairs that were compared.
        left_out: pairs in which a map is zero or not finite.
    """

    jensen_shannon: float | None
    spearman: float | None
    count: int
    left_out: int


@dataclass(frozen=True)
class ObjectFollowing:
    """Whether heat goes where the object goes, from the maps of a class on each other's boxes.

    Attributes:
        own: mean share of a map's heat on its own probe's object.
        others: the same share of the maps of the other probes of the class, on that object: the chance level of own.
        uniform: share of the picture that the objects cover: what a uniform map would put on them.
        z: ``own`` in standard deviations above its mean over all ways to deal out the maps within the classes.
        p_value: one-sided, from ``z``, against "the maps fit other pictures' boxes as well".
        count: probes that took part.
    """

    own: float
    others: float
    uniform: float
    z: float
    p_value: float
    count: int

    @property
    def follows(self) -> bool:
        """Dealing out the maps at random would rarely (1 in 100) put so much heat on the objects.

        With many probes it holds for a little heat as well: compare ``own`` with ``others`` and with ``uniform``.
        """
        return self.p_value <= 0.01


@dataclass(frozen=True)
class SteadinessReport:
    """What changes maps and what does not, at one epoch. Information, never an alarm.

    Everything is ``None`` where it was not, or could not be, measured.

    Attributes:
        epoch: of the look.
        drift: maps now against those of the look before, at ``since_epoch``.
        drift_by_class: the same for each class, by class index; empty without a look before.
        jitter: the floor: maps of the pictures against maps of the pictures shifted by one pixel. Measured at
            ``jitter_epoch``, which is ``epoch`` after a full check and earlier otherwise.
        shift: maps against maps under a shift of a few percent of the side, aligned.
        lighting: under another brightness and contrast.
        noise: under noise.
        other_probes: maps against those of other probes of the class: the chance level of everything above.
        initial: maps now against those of the initial weights (Adebayo et al. 2018, arXiv 1810.03292).
        initial_chance: maps now against those that the initial weights gave for other probes of the class.
        following: whether heat follows the object; ``None`` without boxes.
    """

    epoch: int
    drift: Similarity | None = None
    drift_by_class: tuple[Similarity, ...] = ()
    since_epoch: int | None = None
    jitter: Similarity | None = None
    jitter_epoch: int | None = None
    shift: Similarity | None = None
    lighting: Similarity | None = None
    noise: Similarity | None = None
    other_probes: Similarity | None = None
    initial: Similarity | None = None
    initial_chance: Similarity | None = None
    following: ObjectFollowing | None = None
