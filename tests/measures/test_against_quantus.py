"""Quantus as the reference where it is right, and what it answers where it is not."""

import numpy as np
import pytest
import torch

from camdebug.measures.mass import inside_mass

quantus = pytest.importorskip("quantus")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own, of every metric


def metric(name, **options):
    return getattr(quantus, name)(disable_warnings=True, abs=False, normalise=False, **options)


def answer(found, maps, masks):
    pictures = np.zeros((len(maps), 3, *maps.shape[1:]))
    labels = np.zeros(len(maps), dtype=int)
    return found(model=None, x_batch=pictures, y_batch=labels, a_batch=maps[:, None], s_batch=masks[:, None])


def cases(count, seed=0):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 5, 7))
    for mask in masks:
        y, x = rng.integers(0, 3), rng.integers(0, 4)
        mask[y : y + rng.integers(1, 3), x : x + rng.integers(1, 4)] = 1
    return rng.random((count, 5, 7)), masks


def test_inside_mass_equals_relevance_mass_accuracy():
    maps, masks = cases(6)
    theirs = answer(metric("RelevanceMassAccuracy"), maps, masks)
    ours = inside_mass(torch.from_numpy(maps), torch.from_numpy(masks))
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), rtol=1e-12)


def test_attribution_localisation_lets_a_pictures_score_depend_on_its_batch():
    maps, masks = cases(6)
    weighted = metric("AttributionLocalisation", weighted=True)
    three, six = answer(weighted, maps[:3], masks[:3]), answer(weighted, maps, masks)
    # The area is a share of the pictures after the second: of one picture here, of four there.
    np.testing.assert_allclose(np.asarray(three), 4 * np.asarray(six)[:3])
    assert min(three) > 0
    ours = [inside_mass(torch.from_numpy(maps[:n]), torch.from_numpy(masks[:n]))[:3] for n in (3, 6)]
    assert torch.equal(*ours)


def test_the_pointing_game_hits_an_object_that_is_not_there():
    maps, masks = cases(2)
    masks[1] = 0
    assert bool(answer(metric("PointingGame"), maps, masks)[1]) is True
    assert inside_mass(torch.from_numpy(maps), torch.from_numpy(masks))[1].item() == 0.0  # and its D is NaN: no box
