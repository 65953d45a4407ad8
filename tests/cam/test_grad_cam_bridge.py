import ast
import importlib.metadata
import inspect
import pickle
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from foreign_looks import facts, look, looked, nothing_global_stays
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from tiny_nets import ConvNet, graph_of, pictures, slow_map
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from camdebug.cam.engine import compute_cams
from camdebug.cam.methods import grad_cam_bridge
from camdebug.cam.methods.foreign import foreign
from camdebug.cam.methods.grad_cam_bridge import _classes, bridge
from camdebug.cam.methods.one_pass import ONE_PASS
from camdebug.cam.methods.registry import needs_gradient, needs_layer
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.options import MapOptions
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import Layout

KINDS = sorted(_classes())
CLASSES = [2, 0]
SEED = 7  # with others some maps are empty


def timm_net(kind):
    models = pytest.importorskip("timm.models")
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        if kind == "swin":
            sizes = {"patch_size": 2, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}
            net = models.SwinTransformer(img_size=16, num_classes=3, **sizes)
        else:
            net = models.VisionTransformer(img_size=16, patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=3)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.5)
    return net.eval()


def channels_first(output):
    return output.permute(0, 3, 1, 2)


def tokens_as_cells(output):
    return output[:, 1:].reshape(-1, 4, 4, 8).permute(0, 3, 1, 2)


def case(kind):
    """A net, its target layer as we and as grad-cam have to be told of it."""
    if kind == "cnn":
        net = ConvNet().eval()
        return net, (TargetLayer(net.relu, "relu", Layout("NCHW", (4, 4)), ""),), None
    if kind == "swin":
        net = timm_net(kind)
        return net, (TargetLayer(net.layers[1], "layers.1", Layout("NHWC", (4, 4)), ""),), channels_first
    net = timm_net(kind)
    layer = TargetLayer(net.blocks[1].norm1, "blocks.1.norm1", Layout("tokens", (4, 4), first=1), "")
    return net, (layer,), tokens_as_cells


def by_grad_cam(kind, net, layer, reshape, images, classes):
    """What the package's own users write, picture by picture as we do: rounding depends on the batch."""
    found = []
    for row, k in enumerate(classes):
        np.random.seed(row)
        cam = getattr(pytorch_grad_cam, kind)(net, [] if kind == "FullGrad" else [layer], reshape)
        targets = {"targets": [ClassifierOutputTarget(k)]} if kind != "FinerCAM" else {"targets": None, "target_idx": k}
        # It cannot differentiate fused attention twice, nor let go of gradients that are views.
        with sdpa_kernel(SDPBackend.MATH) if kind == "ShapleyCAM" else nullcontext():
            found.append(cam(images[row : row + 1].clone(), **targets))
        if kind == "ShapleyCAM":
            cam.activations_and_grads.activations, cam.activations_and_grads.gradients = [], []
    return np.concatenate(found)


def test_all_its_classes_are_known():
    assert {"GradCAM", "AblationCAM", "ScoreCAM", "EigenCAM", "FullGrad", "RandomCAM", "KPCA_CAM", "FEM"} <= set(KINDS)
    assert not {"ActivationsAndGradients", "GuidedBackpropReLUModel", "AblationLayer"} & set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_cnn_maps_are_what_grad_cam_gives_and_nothing_is_changed(kind, capfd):
    net, layers, reshape = case("cnn")
    net.train()
    net(pictures()).sum().backward()
    before = facts(net)
    found = look(net, pictures(2), CLASSES, bridge(f"gradcam:{kind}"), layer=layers, chunk_size=2)
    assert facts(net) == before
    assert capfd.readouterr() == ("", "")
    expected = by_grad_cam(kind, net.eval(), net.relu, reshape, pictures(2), CLASSES)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6, rtol=0)
    assert found.shape == (2, 16, 16)
    assert found.dtype == torch.float32
    assert 0.5 < found.max() <= 1


# Two of them grad-cam cannot be told of cells that lie otherwise: AblationCAM sets the class token too, and ShapleyCAM
# does not reshape the activations.
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("AblationCAM", "ShapleyCAM")])
@pytest.mark.parametrize("net_kind", ["swin", "vit"])
def test_cells_that_lie_otherwise_are_read_as_grad_cam_reads_them_when_it_is_told(net_kind, kind):
    net, layers, reshape = case(net_kind)
    found = look(net, pictures(3), [2, 0, 1], bridge(f"gradcam:{kind}"), layer=layers)
    # its FullGrad reads the embedding, whose cells are channels first
    told = None if kind == "FullGrad" else reshape
    expected = by_grad_cam(kind, net, layers[0].module, told, pictures(3), [2, 0, 1])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6, rtol=0)
    assert found.max() > 0.5


@pytest.mark.parametrize("net_kind", ["swin", "vit"])
def test_shapley_cam_is_the_papers_where_cells_lie_otherwise(net_kind):
    """Weights are mean gradients less half the product of Hessian and activation (arXiv 2501.06261)."""
    net, layers, _ = case(net_kind)
    kept, images = [], pictures(1)
    handle = layers[0].module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with sdpa_kernel(SDPBackend.MATH):
        score = net(images)[0, 2]
        handle.remove()
        gradient = torch.autograd.grad(score, kept[0], create_graph=True)[0]
        # The product takes cells alone; what is no cell is held still.
        layout = layers[0].layout
        own = layout.with_cells(torch.zeros_like(kept[0]), layout.cells(kept[0]))
        product = torch.autograd.grad(gradient, kept[0], own.detach())[0]
    cells, first, second = (layout.cells(t.detach()) for t in (kept[0], gradient, product))
    slow = (cells * (first - 0.5 * second).mean((2, 3), keepdim=True)).sum(1).relu()
    expected = scale_cam_image(scale_cam_image(slow.numpy(), (16, 16)))
    found = look(net, images, [2], bridge("gradcam:ShapleyCAM"), layer=layers)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4, rtol=0)
    assert slow.max() > 1e-4


def test_ablation_is_right_where_cells_lie_otherwise():
    """grad-cam's own value for a channel that is off is 1e7 below the lowest, or 0 where the lowest is 0."""
    net, layers, _ = case("vit")
    images, image_class = pictures(1), 2
    tokens, changed = [], {}

    def ablate(_module, _inputs, output):
        tokens.append(output.detach().clone())
        if not changed:
            return output
        off = output.clone()
        off[:, 1:, changed["channel"]] = output[:, 1:].min() - 1e7
        return off

    handle = layers[0].module.register_forward_hook(ablate)
    with torch.no_grad():
        score = net(images)[0, image_class]
        weights = []
        for channel in range(8):
            changed["channel"] = channel
            weights.append((score - net(images)[0, image_class]) / score)
    handle.remove()
    cells = tokens[0][0, 1:].T.reshape(8, 4, 4)
    slow = sum(w * c for w, c in zip(weights, cells, strict=True)).relu()
    expected = scale_cam_image(scale_cam_image(slow[None].numpy(), (16, 16)))
    found = look(net, images, [image_class], bridge("gradcam:AblationCAM"), layer=layers)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5, rtol=0)


def test_an_activation_that_is_overwritten_in_place_is_the_papers_here():
    net, images = ConvNet(flat_side=4).eval(), pictures(3)
    activation, gradient = graph_of(net, net.stage, images, [0, 1, 2])
    papers = np.stack([slow_map("gradcam", a, g) for a, g in zip(activation, gradient, strict=True)]).astype("f4")
    expected = scale_cam_image(scale_cam_image(papers, (16, 16)))
    found = look(net, images, [0, 1, 2], bridge("gradcam:GradCAM"), layer="stage")
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5, rtol=0)
    theirs = by_grad_cam("GradCAM", net, net.stage, None, images, [0, 1, 2])
    assert np.abs(theirs - expected).max() > 0.05


class Breaks(ConvNet):
    """Raises at a chosen forward."""

    def __init__(self, at):
        super().__init__()
        self.at, self.seen = at, []

    def forward(self, x):
        BREAKS.append(len(x))
        if len(BREAKS) == self.at:
            raise RuntimeError("broken")
        return super().forward(x)


BREAKS = []


# The first forward is the pass's own; AblationCAM's fourth has a layer replaced.
@pytest.mark.parametrize(("kind", "at"), [("GradCAM", 2), ("AblationCAM", 4), ("ScoreCAM", 3), ("RandomCAM", 3)])
def test_nothing_is_changed_when_the_model_raises_in_the_middle(kind, at):
    net = Breaks(at)
    BREAKS.clear()
    layers = (TargetLayer(net.relu, "relu", Layout("NCHW", (4, 4)), ""),)
    before = facts(net)
    with pytest.raises(RuntimeError, match="broken"):
        look(net, pictures(2), CLASSES, bridge(f"gradcam:{kind}"), layer=layers)
    assert facts(net) == before


def test_the_same_classes_change_a_model_that_is_handed_to_them_directly():
    net = ConvNet().train()
    before = facts(net)
    with nothing_global_stays():
        by_grad_cam("RandomCAM", net, net.relu, None, pictures(2), CLASSES)
        found = facts(net)
    assert {k for k in before if before[k] != found[k]} == {"flags", "parameters", "generators"}


def test_random_maps_are_the_same_in_every_look_and_chunk():
    net, random_cam = ConvNet(), bridge("gradcam:RandomCAM")
    one = look(net, pictures(4), [0] * 4, random_cam, chunk_size=4)
    np.random.rand()
    other = look(net, pictures(4), [0] * 4, random_cam, chunk_size=1)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    same_picture = look(net, pictures(1).expand(2, -1, -1, -1), [0, 0], random_cam)
    assert not torch.allclose(same_picture[0], same_picture[1])


class Odd(ConvNet):
    """A dict of outputs, another input, a frozen part, a tuple from the layer, and no evaluation mode."""

    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, x, shift):
        with torch.no_grad():
            cells, _ = self.block(self.relu(self.stage(self.stem(x))))
        return {"logits": self.head(self.pool(cells * cells)) * shift[:, None]}

    def train(self, mode=True):
        raise AssertionError("must not be called")

    eval = train


class Block(nn.Module):
    def forward(self, x):
        return x + 1, None


def of_dict(output):
    return ClassScores(output["logits"].float())


def picked_from_dict(output):
    logits = output["logits"].float()
    return ClassScores(None, pick=lambda class_idx: logits.gather(1, class_idx[:, None])[:, 0])


@pytest.mark.parametrize("outputs", [of_dict, picked_from_dict])
@pytest.mark.parametrize("kind", ["GradCAM", "ScoreCAM", "AblationCAM"])
def test_models_that_grad_cam_itself_cannot_read_are_read_as_we_read_them(kind, outputs):
    net, images, shift = Odd(), pictures(3), torch.tensor([1.0, -2.0, 3.0])
    layers = (TargetLayer(net.block, "block", Layout("NCHW", (4, 4)), ""),)
    options = {"use": ModelUse(outputs), "inputs": (shift,), "layer": layers}
    found = look(net, images, [0, 1, 2], bridge(f"gradcam:{kind}"), chunk_size=2, **options)

    class Plain(nn.Module):
        """The same network for one picture, as grad-cam wants it."""

        def __init__(self, row):
            super().__init__()
            self.below, self.block = nn.Sequential(net.stem, net.stage, net.relu), nn.Identity()
            self.above, self.row = nn.Sequential(net.pool, net.head), row

        def forward(self, x):
            cells = self.block(self.below(x) + 1)
            return self.above(cells * cells) * shift[self.row]

        def train(self, mode=True):
            return self

    for module in (m for m in net.modules() if m is not net):
        module.training = False
    for row in range(3):
        plain = Plain(row)
        theirs = by_grad_cam(kind, plain, plain.block, None, images[row : row + 1], [row])
        np.testing.assert_allclose(found[row].numpy(), theirs[0], atol=1e-5, rtol=0)
    assert found.max() > 0.5


def test_methods_that_compare_classes_need_all_of_them():
    net = Odd()
    layers = (TargetLayer(net.block, "block", Layout("NCHW", (4, 4)), ""),)
    with pytest.raises(ValueError, match="num_classes: the model's output does not tell how many classes there are"):
        look(
            *(net, pictures(1), [0], bridge("gradcam:FinerCAM")),
            layer=layers,
            use=ModelUse(picked_from_dict),
            inputs=(torch.ones(1),),
        )


def test_half_precision_is_no_hindrance():
    net, images = ConvNet().eval(), pictures(2)
    expected = look(net, images, CLASSES, bridge("gradcam:GradCAM"), layer="relu")
    found = look(net.bfloat16(), images, CLASSES, bridge("gradcam:GradCAM"), layer="relu")
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0)
    with pytest.raises(TypeError, match="BFloat16"):
        by_grad_cam("GradCAM", net, net.relu, None, images.bfloat16(), CLASSES)


def test_volumes_are_read_and_signals_are_refused():
    volume = nn.Sequential(nn.Conv3d(1, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))
    layers = (TargetLayer(volume[1], "1", Layout("NCHW", (4, 4, 4)), ""),)
    images = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    found = look(volume.eval(), images, [0, 1], bridge("gradcam:GradCAM"), layer=layers)
    theirs = by_grad_cam("GradCAM", volume, volume[1], None, images, [0, 1])
    np.testing.assert_allclose(found.numpy(), theirs, atol=1e-6, rtol=0)
    signal = nn.Sequential(nn.Conv1d(1, 4, 3, 2, 1), nn.Flatten(), nn.Linear(16, 2))
    layers = (TargetLayer(signal[0], "0", Layout("NCHW", (4,)), ""),)
    with pytest.raises(ValueError, match=r"method: gradcam:GradCAM is for pictures .* got \(2, 1, 8\)"):
        look(signal, torch.rand(2, 1, 8), [0, 1], bridge("gradcam:GradCAM"), layer=layers)


def test_refine_cam_multiplies_the_maps_of_all_layers():
    net, images = ConvNet().eval(), pictures(1)
    names = ("stem", "relu")
    layers = tuple(
        TargetLayer(net.get_submodule(n), n, Layout("NCHW", (s, s)), "") for n, s in zip(names, (8, 4), strict=True)
    )
    refine = bridge("gradcam:RefineCAM")
    assert not refine.layered
    found = look(net, images, [1], refine, layer=layers)
    each = [look(net, images, [1], bridge("gradcam:GradCAMPlusPlus"), layer=(layer,)).numpy() for layer in layers]
    np.testing.assert_allclose(found.numpy(), scale_cam_image(each[0] * each[1]), atol=1e-5, rtol=0)
    assert not bridge("gradcam:FullGrad").layered
    assert bridge("gradcam:GradCAM").layered


@pytest.mark.parametrize("kind", ["FullGrad", "RefineCAM"])
def test_methods_that_have_no_single_layer_can_be_asked_for_alone(kind):
    net, images = ConvNet().eval(), pictures(2)
    found = compute_cams(net, images, CLASSES, method=f"gradcam:{kind}", options=MapOptions(sign="signed")).maps
    beside = compute_cams(
        net, images, CLASSES, method=[f"gradcam:{kind}", "gradcam"], options=MapOptions(sign="signed")
    )
    assert torch.equal(found, beside[f"gradcam:{kind}"].maps)
    assert found.max() > 0.5
    if kind == "FullGrad":
        np.testing.assert_allclose(found.numpy(), by_grad_cam(kind, net, net.relu, None, images, CLASSES), atol=1e-6)


def test_refine_cam_needs_a_layer_and_full_grad_none():
    assert [needs_layer(bridge(f"gradcam:{kind}")) for kind in ("FullGrad", "RefineCAM", "GradCAM")] == [
        *(False, True, True)
    ]
    assert not any(needs_gradient(bridge(f"gradcam:{kind}")) for kind in KINDS)


def test_our_own_maps_beside_it_are_as_if_it_had_not_been_there():
    net, plain = ConvNet().train(), ONE_PASS["gradcam"]
    alone = looked(net, pictures(4), [0] * 4, plain, chunk_size=2)
    methods = [bridge(f"gradcam:{kind}") for kind in ("AblationCAM", "FullGrad")]
    beside = looked(net, pictures(4), [0] * 4, *methods, foreign(lambda *given: given[1].sum(1)), plain, chunk_size=2)
    assert torch.equal(alone["gradcam"], beside["gradcam"])
    assert [name.partition(" ")[0] for name in beside] == [
        *("gradcam:AblationCAM", "gradcam:FullGrad", "custom", "gradcam")
    ]


def test_the_layer_that_all_ablations_share_by_default_keeps_no_activations():
    shared = inspect.signature(pytorch_grad_cam.AblationCAM).parameters["ablation_layer"].default
    net, before = ConvNet().eval(), dict(vars(shared))
    look(net, pictures(1), [0], bridge("gradcam:AblationCAM"), layer="relu")
    assert vars(shared) == before
    shared.activations = None
    by_grad_cam("AblationCAM", net, net.relu, None, pictures(1), [0])
    assert shared.activations is not None


def test_it_is_a_value_that_can_be_pickled():
    found = bridge("gradcam:ScoreCAM")
    assert pickle.loads(pickle.dumps(found)) == found == bridge("gradcam:ScoreCAM")
    assert found.name == "gradcam:ScoreCAM"


def test_a_class_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"did you mean gradcam:ScoreCAM\?") as told:
        bridge("gradcam:ScoreCam")
    assert str(told.value).startswith(f"method: grad-cam {importlib.metadata.version('grad-cam')} has no class ")
    assert str(told.value).endswith(", ".join(KINDS))
    with pytest.raises(ValueError, match=r"no class 'zzz' that makes maps\. It has AblationCAM"):
        bridge("gradcam:zzz")


def test_a_package_that_is_missing_or_too_old_is_told(monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(importlib.metadata, "version", lambda name: "1.4.8")
        with pytest.raises(ValueError, match=r"method: gradcam:\.\.\. needs grad-cam 1\.5\.4 or newer, got 1\.4\.8"):
            bridge("gradcam:GradCAM")
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(
        ValueError, match=r"method: gradcam:\.\.\. needs the package grad-cam, which cannot be imported"
    ):
        bridge("gradcam:GradCAM")


def test_the_package_is_imported_where_it_is_asked_for_and_not_before():
    tree = ast.parse(Path(grad_cam_bridge.__file__).read_text())

    def imports(nodes):
        found = [n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))]
        return [n for n in found if "pytorch_grad_cam" in ast.unparse(n)]

    assert imports(tree.body) == []
    assert len(imports(ast.walk(tree))) == 1
