"""``ObserverMemory``: what an observer remembers, and what of it travels in checkpoints and to other processes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from camdebug.cam.explain import Recipe
from camdebug.cam.methods.registry import MethodChoice, check_methods
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.options import PLAIN
from camdebug.cam.target.layers import TargetLayer
from camdebug.probe.probe_set import ProbeSet
from camdebug.steadiness.check import Steadiness
from camdebug.verdict.judge import Judge
from camdebug.wording import told


class ObserverMemory:
    """Verdicts, and maps that later ones are compared with.

    A lambda or a local function of the user's cannot be pickled, so it cannot follow into processes that are spawned
    (``ddp_spawn``). It then stays behind, rather than making the training impossible. ``copy.deepcopy`` keeps it.

    Attributes:
        lost: which function stayed behind, and what would not; ``None`` when all is here. Without it nothing that is
            seen would be what was asked for.
    """

    probes: ProbeSet
    recipe: Recipe
    asked_method: MethodChoice
    use: ModelUse
    layers: tuple[TargetLayer, ...]
    lost: str | None
    _map_grid: tuple[int, ...] | None
    _judge: Judge
    _steadiness: Steadiness
    _new_judge: Callable[[], Judge]

    def forget(self) -> None:
        """A new run begins: no verdicts, and the layer is to be found again."""
        self.layers = ()
        self._map_grid = None
        self._judge = self._new_judge()
        self._steadiness.forget()

    def state_dict(self) -> dict[str, Any]:
        """Primitives and tensors only."""
        return {
            "fingerprint": self.probes.fingerprint,
            "probes": len(self.probes),
            "judge": self._judge.state_dict(),
            "steadiness": self._steadiness.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped.

        Raises:
            ValueError: when the state is not ours, or is of other probes.
        """
        if state.get("fingerprint") != self.probes.fingerprint:
            raise ValueError("probes: the checkpoint was made with another probe set")
        judge = self._new_judge()
        judge.load_state_dict(state.get("judge", {}))
        self._steadiness.load_state_dict(state.get("steadiness"))
        self._judge = judge

    @contextmanager
    def _undone_by_failure(self) -> Iterator[None]:
        """One rank's failure fails the look on all of them, also on those that have judged it already."""
        before = copy.deepcopy(self._judge), copy.copy(self._steadiness)
        try:
            yield
        except BaseException:
            self._judge, self._steadiness = before
            raise

    def _own(self) -> dict[str, Any]:
        """Without the layer, which is a part of the model, and what can be computed again."""
        return {**vars(self), "layers": (), "_on_grid": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> ObserverMemory:
        """With the user's functions, which are never copied."""
        copied = memo[id(self)] = object.__new__(type(self))
        vars(copied).update(copy.deepcopy(self._own(), memo))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: without the user's functions where one of them cannot be."""
        lost = self.lost or self._cannot_travel()
        if lost is None:
            return self._own()
        plain = {"asked_method": "hirescam", "recipe": Recipe(check_methods("hirescam")[0], PLAIN), "use": ModelUse()}
        return {**self._own(), **plain, "lost": lost}

    def _cannot_travel(self) -> str | None:
        score_fn = getattr(self.use.outputs, "score_fn", None)
        given = {"method": self.asked_method, "forward_fn": self.use.forward_fn, "score_fn": score_fn}
        for name, value in given.items():
            try:
                pickle.dumps(value)
            except Exception as error:
                return f"{name}: with ddp_spawn it must be a function at the top of a module ({told(error)})"
        return None
