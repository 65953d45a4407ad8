from contextlib import nullcontext

import pytest
import torch

from camdebug import ProbeSet
from camdebug.background.composites import Composites
from camdebug.background.evidence import gather_evidence
from camdebug.background.pairing import Pairing
from camdebug.cam.lens import Lens
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import Layout


def _probes(ignore=None) -> ProbeSet:
    images = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    boxes = [
        torch.tensor([[2.0, 3.0, 6.0, 8.0]]),
        torch.tensor([[1.0, 1.0, 4.0, 4.0], [8.0, 5.0, 12.0, 10.0]]),
        torch.tensor([[5.5, 2.5, 9.5, 6.5]]),
    ]
    return ProbeSet(images, [0, 0, 1], boxes, ignore=ignore)


def _row(recipient: int, same: int, other: int) -> Pairing:
    return Pairing(*(torch.tensor([i]) for i in (recipient, same, other, 0)))


def _background(probes: ProbeSet) -> torch.Tensor:
    return ~probes.annotated_masks().any(0)


def test_the_two_pictures_show_each_donor_where_all_three_are_background_and_the_recipient_elsewhere():
    probes = _probes()
    same, other = Composites(probes, _row(0, 1, 2))[0:2]
    free = _background(probes)
    assert torch.equal(same[:, free], probes.images[1][:, free])
    assert torch.equal(other[:, free], probes.images[2][:, free])
    assert torch.equal(same[:, ~free], probes.images[0][:, ~free])
    assert torch.equal(other[:, ~free], probes.images[0][:, ~free])


def test_exchanging_the_donors_exchanges_the_pictures_so_boxes_cannot_tell_them_apart():
    probes = _probes()
    assert torch.equal(Composites(probes, _row(0, 1, 2))[0:2], Composites(probes, _row(0, 2, 1))[0:2].flip(0))


def test_every_box_of_a_probe_and_every_pixel_that_one_touches_counts_as_object():
    free = _background(_probes())
    assert not free[1:4, 1:4].any()
    assert not free[5:10, 8:12].any()
    assert not free[2:7, 5:10].any()


def test_ignored_objects_are_never_carried_over():
    ignored = [torch.zeros(0, 4), torch.tensor([[13.0, 0.0, 16.0, 3.0]]), torch.zeros(0, 4)]
    same, other = Composites(_probes(ignored), _row(0, 1, 2))[0:2]
    recipient = _probes().images[0]
    assert torch.equal(same[:, 0:3, 13:16], recipient[:, 0:3, 13:16])
    assert torch.equal(other[:, 0:3, 13:16], recipient[:, 0:3, 13:16])


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_slices_join_to_the_whole(chunk):
    probes = _probes()
    pairing = Pairing(torch.tensor([0, 1, 2]), torch.tensor([1, 0, 2]), torch.tensor([2, 2, 0]), torch.arange(3))
    pictures = Composites(probes, pairing)
    assert len(pictures) == 6
    parts = [pictures[start : start + chunk] for start in range(0, 6, chunk)]
    assert torch.equal(torch.cat(parts), pictures[0:6])


def test_the_probe_set_itself_is_not_written_to():
    probes = _probes()
    before = probes.images.clone()
    Composites(probes, _row(0, 1, 2))[0:2].zero_()
    assert torch.equal(probes.images, before)


def test_composites_are_put_together_on_the_device_that_is_asked_for():
    probes = _probes()
    pictures = Composites(probes, _row(0, 1, 2), device=torch.device("meta"))[0:2]
    assert pictures.device == torch.device("meta")
    assert pictures.shape == (2, 3, 12, 16)
    assert Composites(probes, _row(0, 1, 2))[0:2].device == probes.images.device


class _ReachedTheModelError(Exception):
    pass


class _OnAnotherDevice:
    """A device that this machine always has: tensors without values."""

    def __init__(self) -> None:
        self.came_from: list[str] = []

    def convert(self, images: torch.Tensor) -> torch.Tensor:
        self.came_from.append(images.device.type)
        return images.to("meta")

    def context(self):
        return nullcontext()


def _stop(*_):
    raise _ReachedTheModelError


def test_evidence_puts_them_together_on_the_models_device():
    net = torch.nn.Conv2d(3, 2, 1)
    net.register_forward_pre_hook(_stop)
    layer = TargetLayer(net, "", Layout("NCHW", (12, 16)), "the test's")
    precision = _OnAnotherDevice()
    probes = _probes()
    cover = probes.coverage((12, 16))
    with pytest.raises(_ReachedTheModelError):
        gather_evidence(Lens(ModelUse().on(net, precision), (layer,), 2), probes, _row(0, 1, 2), cover)
    assert precision.came_from[-1] == "meta"
