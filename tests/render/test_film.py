import math

import numpy as np
import pytest
import torch

from camdebug.render.film import CAPACITY, Film, Shot

torch.set_num_threads(1)


def shot(epoch, probes=2, outside=0.5):
    return Shot(
        epoch,
        torch.full((probes, 3, 3), float(epoch)),
        torch.full((probes,), outside, dtype=torch.float64),
        torch.full((probes,), 0.8),
        torch.tensor([True, False][:probes]),
    )


def film_of(epochs, probes=2):
    film = Film(probes)
    for epoch in epochs:
        film.append(shot(epoch, probes))
    return film


@pytest.mark.parametrize("looks", [1, 24, 25, 60, 500])
def test_few_frames_are_kept_with_first_and_last_and_no_large_gap(looks):
    epochs = film_of(range(looks)).epochs
    assert len(epochs) == min(looks, CAPACITY)
    assert (epochs[0], epochs[-1]) == (0, looks - 1)
    gaps = np.diff(epochs)
    assert len(gaps) == 0 or gaps.max() <= 3 * looks / CAPACITY


def test_an_epoch_that_runs_again_replaces_what_it_undoes():
    film = film_of([0, 1, 2, 3])
    film.append(shot(2, outside=math.nan))
    assert film.epochs == [0, 1, 2]
    assert film.frames(0)[-1].outside is None
    assert film.frames(0)[0].outside == 0.5


def test_frames_give_back_what_was_filmed():
    frame = film_of([4]).frames(1)[0]
    assert (frame.epoch, frame.outside, frame.correct) == (4, 0.5, False)
    assert torch.equal(frame.density, torch.full((3, 3), 4.0))
    assert film_of([4]).chance(0) == pytest.approx(0.8)
    assert Film(2).chance(0) is None


def test_stored_frames_do_not_change_with_the_callers_tensors():
    film, given = Film(2), shot(0)
    film.append(given)
    given.density.fill_(9)
    assert film.frames(0)[0].density.eq(0).all()


def spoilt(change):
    state = film_of([0, 1]).state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "film",
        {"epoch": 1},
        [3],
        [{}],
        spoilt(lambda s: s.reverse()),
        spoilt(lambda s: s[0].update(epoch="0")),
        spoilt(lambda s: s[1].pop("density")),
        spoilt(lambda s: s[1].update(density=torch.zeros(2, 3))),
        spoilt(lambda s: s[1].update(density=torch.zeros(2, 0, 3).half())),
        spoilt(lambda s: s[1].update(outside=torch.zeros(5))),
        spoilt(lambda s: s[1].update(correct=[True, False])),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(bad):
    film = film_of([7])
    with pytest.raises(ValueError, match="film: expected"):
        film.load_state_dict(bad)
    assert film.epochs == [7]
    film.load_state_dict(film_of([0, 1]).state_dict())
    assert film.epochs == [0, 1]
