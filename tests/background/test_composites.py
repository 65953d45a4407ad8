import torch

from camdebug import ProbeSet
from camdebug.background.composites import Compositor
from camdebug.background.fill import fill_from_surround


def _probes(ignore=None) -> ProbeSet:
    images = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    boxes = [
        torch.tensor([[2.0, 3.0, 6.0, 8.0]]),
        torch.tensor([[1.0, 1.0, 4.0, 4.0], [8.0, 5.0, 12.0, 10.0]]),
        torch.tensor([[5.5, 2.5, 9.5, 6.5]]),
    ]
    return ProbeSet(images, [0, 1, 0], boxes, ignore=ignore)


def test_a_composite_is_the_recipients_object_on_the_donors_filled_background():
    probes = _probes()
    composite = Compositor(probes).compose(torch.tensor([0]), torch.tensor([1]))[0]
    background = fill_from_surround(probes.images, probes.object_masks())[1]
    assert torch.equal(composite[:, 3:8, 2:6], probes.images[0, :, 3:8, 2:6])
    outside = torch.ones(12, 16, dtype=torch.bool)
    outside[3:8, 2:6] = False
    assert torch.equal(composite[:, outside], background[:, outside])


def test_several_boxes_are_all_carried_over_and_partial_pixels_belong_to_the_object():
    probes = _probes()
    two, edge = Compositor(probes).compose(torch.tensor([1, 2]), torch.tensor([0, 1]))
    assert torch.equal(two[:, 1:4, 1:4], probes.images[1, :, 1:4, 1:4])
    assert torch.equal(two[:, 5:10, 8:12], probes.images[1, :, 5:10, 8:12])
    assert torch.equal(edge[:, 2:7, 5:10], probes.images[2, :, 2:7, 5:10])


def test_other_objects_of_a_donor_are_filled_away_too():
    ignored = [torch.zeros(0, 4), torch.tensor([[13.0, 0.0, 16.0, 3.0]]), torch.zeros(0, 4)]
    plain = Compositor(_probes()).compose(torch.tensor([0]), torch.tensor([1]))[0]
    filled = Compositor(_probes(ignored)).compose(torch.tensor([0]), torch.tensor([1]))[0]
    probes = _probes()
    assert torch.equal(plain[:, 0:3, 13:16], probes.images[1, :, 0:3, 13:16])
    assert not torch.equal(filled[:, 0:3, 13:16], probes.images[1, :, 0:3, 13:16])


def test_the_probe_set_itself_is_not_written_to():
    probes = _probes()
    before = probes.images.clone()
    Compositor(probes).compose(torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1]))
    assert torch.equal(probes.images, before)
