import random

import numpy as np
import pytest
import torch

from camdebug.rng import preserved_rng, seeded_rng


def states():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


def draw_from_all():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_without_the_guard_all_three_generators_move():
    before = states()
    draw_from_all()
    assert all(a != b for a, b in zip(before, states(), strict=True))


@pytest.mark.parametrize("guard", [preserved_rng, lambda: seeded_rng(3)], ids=["preserved", "seeded"])
def test_all_three_generators_are_as_before_after_the_block(guard):
    before = states()
    with guard():
        draw_from_all()
        torch.manual_seed(5)
    assert states() == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_generators_are_restored_when_the_block_raises(error):
    before = states()

    def fail():
        draw_from_all()
        raise error

    with pytest.raises(error), seeded_rng(3):
        fail()
    assert states() == before


def test_the_seed_alone_decides_what_is_drawn():
    draws = []
    for seed in (7, 7, 8):
        draw_from_all()
        with seeded_rng(seed):
            draws.append(draw_from_all())
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[0], draws[2], strict=True))


def test_a_seed_beyond_numpys_range_is_folded_into_it():
    with seeded_rng(2**32 + 5):
        folded = np.random.rand()
    assert folded == np.random.RandomState(5).rand()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_cuda_generator_is_seeded_and_restored():
    torch.rand(1, device="cuda")
    before = torch.cuda.get_rng_state()
    with seeded_rng(3):
        first = torch.rand(4, device="cuda")
    torch.testing.assert_close(torch.cuda.get_rng_state(), before, rtol=0, atol=0)
    torch.rand(1, device="cuda")
    with seeded_rng(3):
        assert torch.equal(torch.rand(4, device="cuda"), first)
    assert not torch.equal(torch.cuda.get_rng_state(), before)


def test_a_sleeping_gpu_is_not_woken():
    was_awake = torch.cuda.is_initialized()
    with seeded_rng(3):
        pass
    assert torch.cuda.is_initialized() == was_awake
