"""What processes could disagree on before a look: rank zero's answer counts."""

import warnings
from types import SimpleNamespace

import pytest
from small_training import Module

from camdebug.callbacks import looker
from camdebug.callbacks.looker import Looker
from camdebug.callbacks.messages import Messenger
from camdebug.cam.lending import belongings
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


class Bulky(Module):
    """Holds more than a look keeps."""

    def __init__(self):
        super().__init__()
        self.samples = [[i] for i in range(20)]


def test_what_is_left_out_is_told_once_with_what_to_do(monkeypatch):
    monkeypatch.setattr(belongings, "MOST_VALUES", 10)
    fitted = SimpleNamespace(world_size=1, current_epoch=0, precision_plugin=None)
    observer = SimpleNamespace(look=lambda *args, **options: None, remember_initial=lambda *args, **options: None)
    monkeypatch.setattr(looker.facts, "looks_left", lambda fitted, every: 7)
    watching = Looker(observer, Messenger().left_out)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        watching.remember_initial(fitted, Bulky())
        watching.look(fitted, Bulky(), every_n_epochs=1)
    assert [str(w.message) for w in said] == [
        "camdebug: looks do not put back all that a forward changes in the model's samples: there is too much in it to "
        "keep all at each look; keep such data outside the module, for example in the dataset."
    ]
