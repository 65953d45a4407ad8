"""Maps of one output, of scores in containers, and of scores of the user's own, from model to heat."""

import numpy as np
import pytest
import torch
from hand_made_lens import Answers, maps_of
from tiny_nets import ConvNet, graph_of, hand_net, pictures, slow_map
from torch import nn

from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.reading import OutputReader
from camdebug.cam.target.layers import TargetLayerError

READ = OutputReader()


def own_score(output, class_idx):
    return output["tokens"].mean(1).gather(1, class_idx[:, None])[:, 0] * 2


def test_a_binary_net_is_explained_for_and_against():
    net = nn.Sequential(*hand_net()[:2], nn.Linear(8, 1, bias=False))
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[1.0, 0.0, -2.0, 1.0, -1.0, 1.0, 0.5, 0.0]]))
    image = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[2.0, 0.0], [1.0, 0.0]]]])
    for answer in (nn.Identity(), lambda z: z[:, 0], lambda z: {"logits": z}):
        model = Answers(answer, net)
        found = {k: maps_of(model, image, torch.tensor([k]), READ, "net.0")["hirescam"] for k in (0, 1)}
        assert found[1].maps.tolist() == [[[0.0, 0.0], [0.5, 1.0]]]
        assert found[0].maps.tolist() == [[[1.0, 0.0], [0.0, 0.0]]]
        assert (found[1].class_score.tolist(), found[0].class_score.tolist()) == ([0.5], [-0.5])
        assert found[0].predicted_class.tolist() == [1]


def test_the_value_of_a_regression_is_explained_as_class_one_and_what_lowers_it_as_class_zero():
    net, images = ConvNet(classes=1).eval(), pictures()
    classes = torch.tensor([1, 0, 0])
    found = maps_of(net, images, classes, READ, "relu", ("gradcam", "hirescam"))
    activation, gradient = graph_of(net, net.relu, images, [0, 0, 0])
    signed = gradient * np.array([1, -1, -1], dtype=np.float32)[:, None, None, None]
    for method, heat in found.items():
        expected = [slow_map(method, a, g) for a, g in zip(activation, signed, strict=True)]
        torch.testing.assert_close(heat.maps.double(), torch.tensor(np.stack(expected)), atol=1e-5, rtol=1e-4)
        assert heat.maps.max() > 1e-2
    value = net(images).detach()[:, 0]
    torch.testing.assert_close(found["gradcam"].class_score, value * torch.tensor([1, -1, -1]))


@pytest.mark.parametrize(
    "answer",
    [
        lambda s: {"logits": s},
        lambda s: (s, s * 3),
        lambda s: [s],
        lambda s: s[:, :, None, None],
        lambda s: {"y": (s,)},
    ],
)
def test_the_way_in_which_scores_are_handed_out_changes_no_bit_of_a_map(answer):
    images, classes = pictures(5), torch.tensor([0, 1, 2, 0, 1])
    plain = maps_of(Answers(nn.Identity()), images, classes, ClassScores, "net.relu", chunk_size=2)["hirescam"]
    found = maps_of(Answers(answer), images, classes, READ, "net.relu", chunk_size=2)["hirescam"]
    assert plain.maps.max() > 0.01
    assert torch.equal(found.maps, plain.maps)
    assert torch.equal(found.class_score, plain.class_score)
    assert torch.equal(found.predicted_class, plain.predicted_class)


def test_without_a_table_the_class_that_is_asked_for_is_explained_and_no_other():
    model, images, classes = Answers(lambda s: {"tokens": s[:, None]}), pictures(), torch.tensor([0, 1, 2])
    reader = OutputReader(score_fn=own_score)
    found = maps_of(model, images, classes, reader, "net.relu")["hirescam"]
    plain = maps_of(model.net, images, classes, ClassScores, "relu")["hirescam"]
    torch.testing.assert_close(found.maps, 2 * plain.maps)
    assert found.predicted_class is None
    with pytest.raises(ValueError, match="class_idx: the model's output does not tell which class it predicts"):
        maps_of(model, images, None, reader, "net.relu")
    counted = maps_of(model, images, None, OutputReader(score_fn=own_score, num_classes=3), "net.relu")["hirescam"]
    assert torch.equal(counted.predicted_class, plain.predicted_class)


def test_an_own_score_off_the_graph_is_named_as_such():
    reader = OutputReader(score_fn=lambda output, class_idx: own_score(output, class_idx).detach())
    with pytest.raises(TargetLayerError, match=r"no gradient path leads from 'net.relu' to the scores"):
        maps_of(Answers(lambda s: {"tokens": s[:, None]}), pictures(), torch.tensor([0, 1, 2]), reader, "net.relu")


def test_a_hugging_face_classifier_is_explained_like_its_logits():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=16, patch_size=4,
        num_labels=3, output_hidden_states=True, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.ViTForImageClassification(config).eval()
    images, classes = pictures(2), torch.tensor([2, 0])
    output = model(images)
    assert len(output.hidden_states) == 2
    assert torch.equal(READ(output).table, output.logits)
    layer = model.get_submodule("vit.embeddings.patch_embeddings.projection")

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            return self.net(x).logits

    activation, gradient = graph_of(Logits(), layer, images, classes.tolist())
    expected = [slow_map("hirescam", a, g) for a, g in zip(activation, gradient, strict=True)]
    found = maps_of(model, images, classes, READ, "vit.embeddings.patch_embeddings.projection")["hirescam"]
    assert found.maps.max() > 1e-3
    torch.testing.assert_close(found.maps.double(), torch.tensor(np.stack(expected)), atol=1e-5, rtol=1e-4)
