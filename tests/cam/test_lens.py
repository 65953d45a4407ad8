"""A pass is dealt out to processes by whole chunks; together they find what one alone finds, to the last bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_nets import ConvNet, forwards_of, pictures

from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.peers import ALONE
from camdebug.cam.target.search import find_target_layers


class _SeenError(Exception):
    pass


class OneOfSeveral:
    """A process whose exchange gives what was collected of all; before that is known, it stops there."""

    def __init__(self, rank, count, collected=None):
        self.rank, self.count, self.collected, self.mine = rank, count, collected, None

    def exchange(self, mine):
        self.mine = mine
        if self.collected is None:
            raise _SeenError
        return self.collected


def over(peers, images, chunk_size, scores=(lambda scores, rows: scores.matrix[:, 0],)):
    model = ConvNet()
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images)
        seen = forwards_of(model)
        lens = Lens(subject, layers, chunk_size, peers)
        try:
            found = lens.over(images, scores, lambda c: (c.scores.matrix, c.view.gradients[0]))
        except _SeenError:
            found = None
    return found, seen


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 11), st.integers(1, 5), st.integers(2, 4))
def test_any_number_of_processes_finds_what_one_alone_finds_in_equally_many_forwards(number, chunk_size, count):
    images = pictures(number)
    alone, _ = over(ALONE, images, chunk_size)
    collected, forwards = [], []
    for rank in range(count):
        peers = OneOfSeveral(rank, count)
        forwards.append(len(over(peers, images, chunk_size)[1]))
        collected.append(peers.mine)
    assert len(set(forwards)) == 1
    assert sum(len(pieces) for _, pieces in collected) == -(-number // chunk_size)
    for rank in range(count):
        shared, _ = over(OneOfSeveral(rank, count, collected), images, chunk_size)
        assert all(torch.equal(a, b) for a, b in zip(shared, alone, strict=True))


@pytest.mark.parametrize(("chunks", "expected"), [(1, [1, 0, 0]), (3, [1, 1, 1]), (4, [2, 1, 1]), (5, [2, 2, 1])])
def test_what_a_process_makes_only_to_keep_up_is_not_sent(chunks, expected):
    sent = []
    for rank in range(3):
        peers = OneOfSeveral(rank, 3)
        over(peers, pictures(chunks), 1)
        sent.append(len(peers.mine[1]))
    assert sent == expected


@pytest.mark.parametrize("other", [5, 6])  # of which one has as many chunks, and would be mixed up unnoticed
def test_processes_that_make_different_passes_are_told_before_anything_is_mixed_up(other):
    collected = []
    for rank, number in enumerate((6, other)):
        peers = OneOfSeveral(rank, 2)
        scores = [lambda scores, rows: scores.matrix[:, 0]] * (1 if rank == 0 or number != 6 else 2)
        over(peers, pictures(number), 2, scores)
        collected.append(peers.mine)
    for rank in range(2):
        with pytest.raises(RuntimeError, match="do not make the same pass"):
            over(OneOfSeveral(rank, 2, collected), pictures(6), 2)
