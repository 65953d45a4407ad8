import torch

from camdebug import ProbeSet
from camdebug.render.choice import choose_logged


def _probes(per_class: int) -> ProbeSet:
    images = torch.rand(3 * per_class, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[4.0, 4.0, 20.0, 20.0]]).repeat(3 * per_class, 1)
    return ProbeSet(images, torch.arange(3).repeat_interleave(per_class), boxes)


def test_logged_probes_are_spread_over_classes():
    probes = _probes(10)
    chosen = choose_logged(probes, limit=6)
    assert probes.labels[chosen].tolist() == [0, 0, 1, 1, 2, 2]
    assert chosen == choose_logged(_probes(10), limit=6)
    assert choose_logged(probes, limit=100) == list(range(30))
    assert choose_logged(probes, limit=0) == []


def test_small_classes_leave_their_share_to_others_and_many_classes_are_sampled():
    images = torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    uneven = ProbeSet(images, [0] * 8 + [1], class_names=("a", "b"))
    assert len(choose_logged(uneven, limit=6)) == 6
    assert 8 in choose_logged(uneven, limit=2)
    many = ProbeSet(images, range(9), class_names=[str(k) for k in range(9)])
    assert choose_logged(many, limit=3) == [0, 3, 6]


def test_probes_whose_heat_can_be_read_come_first():
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0]]).repeat(6, 1)
    boxes[4] = torch.tensor([4.0, 4.0, 20.0, 20.0])
    probes = ProbeSet(images, [0] * 6, boxes, class_names=("a",))
    assert choose_logged(probes, limit=1) == [4]
    assert choose_logged(probes, limit=2) == [0, 4]
