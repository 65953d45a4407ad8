"""What processes could disagree on before a look: rank zero's answer counts."""

from types import SimpleNamespace

import pytest
from small_training import Module

from camdebug.callbacks import looker
from camdebug.callbacks.looker import Looker
from camdebug.cam.peers import ALONE


class Second:
    """The second of two processes; the first one answers every question with 3."""

    rank, count = 1, 2
    attempt = ALONE.attempt

    def exchange(self, mine):
        return [3, mine] if isinstance(mine, int) else [mine, mine]


@pytest.mark.parametrize(("peers", "expected"), [(Second(), 3), (ALONE, 7)])
def test_all_processes_plan_with_rank_zeros_number_of_looks(monkeypatch, peers, expected):
    asked = []
    observer = SimpleNamespace(look=lambda model, precision, **options: asked.append(options["looks_left"]))
    monkeypatch.setattr(looker, "peers_of", lambda fitted: peers)
    monkeypatch.setattr(looker.facts, "looks_left", lambda fitted, every: 7)
    fitted = SimpleNamespace(world_size=2, current_epoch=0, precision_plugin=None)
    Looker(observer).look(fitted, Module(), every_n_epochs=1)
    assert asked == [expected]
