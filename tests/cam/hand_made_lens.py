"""Maps of any model, through a lens made by hand, and a net whose scores are handed out in any way."""

from tiny_nets import ConvNet
from torch import nn

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import check_methods
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layers


def maps_of(model, images, class_idx, reader, layer, methods=("hirescam",), chunk_size=8):
    with borrowed(model):
        subject = ModelUse(outputs=reader).on(model)
        layers = find_target_layers(subject, images, layer)
        return explain(Lens(subject, layers, chunk_size), images, [class_idx], check_methods(methods))[0]


class Answers(nn.Module):
    """A net whose scores are handed out in another way."""

    def __init__(self, answer, net=None):
        super().__init__()
        self.net, self.answer = net or ConvNet(), answer

    def forward(self, x):
        return self.answer(self.net(x))
