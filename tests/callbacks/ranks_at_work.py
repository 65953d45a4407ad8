"""One of several processes that exchange and fail in all the ways there are. Run by ``test_ranks``."""

import json
import os
import sys
import weakref
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch

from camdebug.callbacks.rank_zero_buffers import rank_zero_buffers
from camdebug.callbacks.ranks import Ranks
from camdebug.cam.engine import compute_cams

RANKS = Ranks()


def fails_if(condition, error=ValueError):
    if condition:
        raise error(f"mine of {RANKS.rank}")


def nobody_fails(rank):
    with RANKS.attempt():
        return [RANKS.exchange(f"first of {rank}"), RANKS.exchange({"second": rank})]


def before_the_first_exchange(rank):
    with RANKS.attempt():
        fails_if(rank == 1)
        return RANKS.exchange(rank)


def between_exchanges(rank):
    with RANKS.attempt():
        RANKS.exchange(rank)
        fails_if(rank == 0)
        return RANKS.exchange(rank)


def after_the_last_exchange(rank):
    with RANKS.attempt():
        RANKS.exchange(rank)
        fails_if(rank == 1)
        return "done"


def two_at_different_places(rank):
    with RANKS.attempt():
        fails_if(rank == 1)
        RANKS.exchange(rank)
        fails_if(rank == 0)
        return RANKS.exchange(rank)


def one_leaves_while_others_exchange(rank):
    with RANKS.attempt():
        return "left" if rank == 1 else RANKS.exchange(rank)


def one_runs_out_of_memory(rank):
    with RANKS.attempt():
        fails_if(rank == 1, torch.OutOfMemoryError)
        return RANKS.exchange(rank)


def one_runs_out_of_memory_and_one_fails(rank):
    with RANKS.attempt():
        fails_if(rank == 1, torch.OutOfMemoryError)
        fails_if(rank == 0)
        return RANKS.exchange(rank)


def tries_again_together(rank):
    """As a look does: the outer attempt is not told of what the inner one has got over."""
    tries = 0
    with RANKS.attempt():
        while True:
            tries += 1
            try:
                with RANKS.attempt():
                    fails_if(rank == 1 and tries < 3, torch.OutOfMemoryError)
                    RANKS.exchange(rank)
                    return tries
            except torch.OutOfMemoryError:
                continue


def inner_failure_goes_through_the_outer_attempt(rank):
    with RANKS.attempt(), RANKS.attempt():
        fails_if(rank == 1)
        return RANKS.exchange(rank)


def one_alone_looks_at_synchronised_norms(rank):
    """Which would refuse to be trained here, and communicate elsewhere: in evaluation they do neither."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(torch.nn.Sequential(net, head))
    if rank == 0:
        return list(compute_cams(model.train(), torch.rand(2, 3, 8, 8), 0).maps.shape)
    with suppress(ValueError):
        model.train()(torch.rand(2, 3, 8, 8))
        return "trained"


def what_a_failed_pass_held_is_let_go_before_the_others_are_told(rank):
    held, at_exchange = [], []

    def greedy():
        tensor = torch.zeros(8)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("full")

    real = torch.distributed.all_gather_object
    torch.distributed.all_gather_object = lambda *args: at_exchange.append(held[0]() is None) or real(*args)
    try:
        with suppress(torch.OutOfMemoryError), RANKS.attempt():
            greedy()
    finally:
        torch.distributed.all_gather_object = real
    return at_exchange


def buffers(rank):
    """Those of rank zero inside, one's own after it."""
    norm = torch.nn.BatchNorm1d(3)
    norm.running_mean.fill_(rank)
    norm.num_batches_tracked.fill_(10 + rank)
    with RANKS.attempt(), rank_zero_buffers(norm, RANKS):
        inside = [norm.running_mean.tolist(), int(norm.num_batches_tracked)]
    return [inside, norm.running_mean.tolist(), int(norm.num_batches_tracked)]


def buffers_are_given_back_after_a_failure(rank):
    norm = torch.nn.BatchNorm1d(1)
    norm.running_mean.fill_(rank)
    try:
        with RANKS.attempt(), rank_zero_buffers(norm, RANKS):
            fails_if(rank == 1)
            RANKS.exchange(rank)
    except (ValueError, RuntimeError):
        return norm.running_mean.tolist()


def equal_buffers_do_not_travel(rank):
    sent, real = [], RANKS.exchange
    RANKS.exchange = lambda mine: sent.append(mine) or real(mine)
    with rank_zero_buffers(torch.nn.BatchNorm1d(1), RANKS):
        pass
    del RANKS.exchange
    return [type(piece).__name__ for piece in sent]


SCENES = [
    nobody_fails,
    before_the_first_exchange,
    between_exchanges,
    after_the_last_exchange,
    two_at_different_places,
    one_leaves_while_others_exchange,
    one_runs_out_of_memory,
    one_runs_out_of_memory_and_one_fails,
    tries_again_together,
    inner_failure_goes_through_the_outer_attempt,
    one_alone_looks_at_synchronised_norms,
    what_a_failed_pass_held_is_let_go_before_the_others_are_told,
    buffers,
    buffers_are_given_back_after_a_failure,
    equal_buffers_do_not_travel,
]


def outcome_of(scene, rank):
    try:
        return scene(rank)
    except Exception as error:
        return [type(error).__name__, str(error)]


def main(folder):
    rank, count = int(os.environ["LOCAL_RANK"]), int(os.environ["RANKS"])
    torch.distributed.init_process_group("gloo", rank=rank, world_size=count, timeout=timedelta(seconds=60))
    for scene in SCENES:
        found = outcome_of(scene, rank)
        together = RANKS.exchange(scene.__name__)  # nobody is an exchange ahead
        (folder / f"{scene.__name__} {rank}.json").write_text(json.dumps({"found": found, "together": together}))
    os._exit(0)  # gloo may abort an interpreter that exits in its own way


if __name__ == "__main__":
    main(Path(sys.argv[1]))
