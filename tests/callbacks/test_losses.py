"""The sum of what was lost: what, how often, why and when, in a sentence that stays short."""

import pytest
from small_training import ours

from camdebug.callbacks.losses import LOOKS, Loss, Losses
from camdebug.callbacks.messages import Messenger
from camdebug.wording import Failure


def losses(*entries):
    found = Losses()
    for what, why, epoch in entries:
        found.add(what, why, epoch=epoch, reported=False)
    return found


def test_a_loss_that_was_reported_and_stayed_alone_is_not_summed_up():
    found = Losses()
    found.add("drawing failed", "OSError", epoch=3, reported=True)
    assert found.in_sum(looks=5) == ""
    assert found.of("drawing failed") == [Loss("drawing failed", "OSError", (3,))]


def test_a_loss_that_was_never_reported_is_summed_up_even_when_alone():
    assert losses(("drawing failed", "OSError", 3)).in_sum(looks=5) == "drawing failed (epoch 3: OSError)"


def test_each_kind_and_each_reason_is_named_with_its_epochs():
    found = losses((LOOKS, "a", 0), (LOOKS, "b", 1), (LOOKS, "a", 2), ("saving failed", "c", None))
    assert found.in_sum(looks=4) == "lost 3 of 4 looks (epochs 0, 2: a; epoch 1: b); saving failed (at the start: c)"


def test_many_reasons_and_many_epochs_are_cut_short():
    found = losses(*((LOOKS, f"reason {i}", 2 * i) for i in range(1000)))
    told = found.in_sum(looks=1000)
    assert told.startswith(
        "lost 1000 of 1000 looks (epoch 0: reason 0; epoch 2: reason 1; epoch 4: reason 2; and 18 more"
    )
    assert len(found.of(LOOKS)) == 21
    assert len(told) < 200
    scattered = losses(*((LOOKS, "same", 2 * i) for i in range(1000))).in_sum(looks=1000)
    assert scattered.endswith("(epochs 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, ...: same)")


@pytest.mark.parametrize("ends", [1, 2])
def test_the_sum_is_said_once_however_often_a_run_ends(ends):
    messages = Messenger()
    with ours() as said:
        for epoch in (0, 1):
            messages.epoch = epoch
            messages.given_up(Failure("TensorBoard", "TensorBoard did not take pictures", "OSError: full"))
        for _ in range(ends):
            messages.closing_words()
    assert said == [
        "camdebug: TensorBoard did not take pictures (OSError: full). Training goes on.",
        "camdebug, in sum: TensorBoard did not take pictures 2 times (epochs 0 to 1: OSError: full).",
    ]
