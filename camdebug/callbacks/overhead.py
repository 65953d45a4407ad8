"""What looks cost a training in time, and a cadence that keeps it within bounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from camdebug.cam.peers import Peers

FREE_SECONDS = 60.0
"""So much of a run's time is never held against looks: short trainings are looked at as planned."""

_AT_LEAST = 1.5


class Overhead:
    """Measures how long the training is held up, and says from when on looks should be rarer.

    All processes of a training see the same figures, those of the slowest one, and so decide alike.

    Args:
        limit: most seconds of looks for each second of training without them; ``None`` for no limit.
        clock: gives seconds; never goes backwards.

    Attributes:
        last: seconds that the last look took, with all that was drawn and logged of it; 0 before any.
    """

    def __init__(self, limit: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self.begin(epoch=0)

    def begin(self, *, epoch: int) -> None:
        """The training starts with this epoch."""
        self._started, self._first_epoch = self._clock(), epoch
        self._taken, self._looks, self._first, self.last = 0.0, 0, 0.0, 0.0
        self._reviewed = True

    @contextmanager
    def measured(self, peers: Peers) -> Iterator[None]:
        """Count the block as a look. All processes go through it together."""
        started = self._clock()
        yield
        self.last = max(peers.exchange(self._clock() - started))
        self._taken += self.last
        self._looks += 1
        self._first = self._first or self.last
        self._reviewed = False

    def longer_cadence(self, peers: Peers, *, epoch: int, cadence: int) -> int | None:
        """How many epochs should lie between looks from now on; ``None`` when it may stay as it is.

        Ask at the end of an epoch, in all processes. It only ever grows, by half at least, so that it is said seldom.
        The first look counts in no mean: it also imports what draws.

        Args:
            peers: the processes.
            epoch: that ends.
            cadence: epochs between looks at present.
        """
        if self._limit is None or self._reviewed or self._taken <= FREE_SECONDS or self._looks < 2:
            return None
        self._reviewed = True
        elapsed = max(peers.exchange(self._clock() - self._started))
        own = max(elapsed - self._taken, 1e-9) / (epoch - self._first_epoch + 1)
        usual = (self._taken - self._first) / (self._looks - 1)
        needed = math.ceil(usual / (self._limit * own))
        return max(needed, math.ceil(_AT_LEAST * cadence)) if needed > cadence else None

    def words(self, cadence: int) -> str:
        """Why looks are rarer from now on."""
        return (
            f"camdebug: {self._looks} looks took {self._taken:.0f} s, more than max_overhead={self._limit:g} of the "
            f"training's own time allows. From now on it looks every {cadence} epochs, and at the last one. To look "
            "more often, raise max_overhead, or make looks cheaper: fewer probes, or a smaller log_probes."
        )
