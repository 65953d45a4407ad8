import pytest
import torch

from camdebug.verdict.learned import learned_classes, youden_lower_bound


def test_a_net_that_always_answers_one_class_has_learned_nothing():
    labels = torch.arange(2).repeat_interleave(40)
    assert learned_classes(labels, torch.zeros(80, dtype=torch.int64)) == {0: False, 1: False}


def test_a_right_net_has_learned_every_class():
    labels = torch.arange(3).repeat_interleave(20)
    assert learned_classes(labels, labels) == {0: True, 1: True, 2: True}


def test_one_class_can_be_learned_before_the_others():
    labels = torch.arange(3).repeat_interleave(20)
    predicted = torch.where(labels == 0, 0, 1)
    assert learned_classes(labels, predicted) == {0: True, 1: True, 2: False}


def test_the_bound_is_hand_computed():
    labels = torch.tensor([0] * 8 + [1] * 18)
    predicted = torch.tensor([0] * 5 + [1] * 3 + [1] * 15 + [0] * 3)
    hit, false = 6 / 10, 4 / 20
    error = (hit * (1 - hit) / 10 + false * (1 - false) / 20) ** 0.5
    assert youden_lower_bound(labels, predicted, 0) == pytest.approx(hit - false - 1.6448536 * error)


def test_guessing_is_not_taken_for_learning_more_often_than_the_confidence_says():
    generator, labels = torch.Generator().manual_seed(0), torch.arange(2).repeat_interleave(40)
    taken = sum(youden_lower_bound(labels, torch.randint(0, 2, (80,), generator=generator), 0) > 0 for _ in range(1000))
    assert taken / 1000 < 0.07
