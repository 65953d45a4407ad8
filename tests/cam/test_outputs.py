"""Class scores from tensors, tuples, dicts and outputs of other packages: values, gradients and refusals by hand."""

import pickle
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
import torchvision
from tiny_nets import pictures
from torchvision.models.googlenet import GoogLeNetOutputs
from torchvision.models.inception import InceptionOutputs

from camdebug.cam.model.entries import UnreadableOutputError, described
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.reading import OutputReader

READ = OutputReader()
LOGITS = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, -2.0]])
OTHERS = -LOGITS


# --- tensors


def test_a_table_of_logits_is_taken_as_it_is():
    found = READ(LOGITS)
    assert torch.equal(found.table, LOGITS)
    assert found.link == "softmax"
    assert found.pick is None
    assert found.predicted.tolist() == [1, 0]
    assert found.of(torch.tensor([2, 1])).tolist() == [2.0, -1.0]


def test_several_labels_at_once_stand_each_for_itself():
    found = OutputReader(task="multilabel")(LOGITS)
    assert torch.equal(found.table, LOGITS)
    assert found.link == "sigmoid"
    assert OutputReader(task="multiclass")(LOGITS).link == "softmax"


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("task", [None, "multilabel"])
def test_one_output_becomes_two_columns_with_opposite_signs(shape, task):
    found = OutputReader(task=task)(torch.tensor([2.0, -0.5, 0.0]).reshape(shape))
    assert found.table.tolist() == [[-2.0, 2.0], [0.5, -0.5], [0.0, 0.0]]
    assert found.link == "sigmoid"
    assert found.predicted.tolist() == [1, 0, 0]


def test_the_gradients_of_one_output_are_plus_and_minus_one():
    z = torch.tensor([[2.0], [-0.5]], requires_grad=True)
    (gradient,) = torch.autograd.grad(READ(z).of(torch.tensor([1, 0])).sum(), z)
    assert gradient.tolist() == [[1.0], [-1.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(2, 3), (6,), (2, 3, 1, 1)])
def test_whatever_the_number_format_the_table_is_float32_and_on_the_graph(dtype, shape):
    output = LOGITS.to(dtype).reshape(shape).requires_grad_()
    found = READ(output)
    assert found.table.dtype is torch.float32
    (gradient,) = torch.autograd.grad(found.of(torch.ones(shape[0], dtype=torch.int64)).sum(), output)
    assert gradient.dtype is dtype
    assert (
        gradient.tolist()
        == (torch.tensor([[0.0, 1, 0]] * 2) if len(shape) > 1 else torch.ones(6)).reshape(shape).tolist()
    )


# --- containers

Named = namedtuple("Named", ["features", "logits"])
Unnamed = namedtuple("Unnamed", ["first", "second"])


@dataclass
class Answer:
    features: torch.Tensor
    prediction: torch.Tensor


@pytest.mark.parametrize(
    "output",
    [
        (LOGITS,),
        [LOGITS, OTHERS],
        (LOGITS, torch.rand(2, 4, 8)),
        (None, torch.tensor(0.7), 0.5, {}, LOGITS, OTHERS),
        Unnamed(LOGITS, OTHERS),
        Named(OTHERS, LOGITS),
        {"logits": LOGITS, "aux": OTHERS},
        {"aux": OTHERS, "out": LOGITS},
        {"predictions": OTHERS, "prediction": OTHERS, "scores": LOGITS},
        {"loss": torch.tensor(0.7), "whatever": LOGITS, "tokens": torch.rand(2, 4, 8), "ids": torch.tensor([1, 2])},
        {"logits": None, "out": LOGITS},
        {"head": {"logits": LOGITS}},
        {"out": {"anything": (LOGITS, OTHERS)}},
        ({"logits": LOGITS}, OTHERS),
        Answer(OTHERS, LOGITS),
        GoogLeNetOutputs(LOGITS, OTHERS, OTHERS),
        InceptionOutputs(LOGITS, OTHERS),
    ],
    ids=lambda output: described(output)[:60],
)
def test_the_scores_are_found_in_whatever_they_come_in(output):
    assert torch.equal(READ(output).table, LOGITS)


def test_of_known_names_the_better_one_wins_whatever_the_order():
    names = ["logits", "out", "scores", "prediction", "predictions", "logits_per_image"]
    output = {name: LOGITS + i for i, name in enumerate(names)}
    for i, name in enumerate(names):
        assert torch.equal(READ(dict(reversed(output.items()))).table, LOGITS + i)
        del output[name]


@pytest.mark.parametrize(
    ("output", "came"),
    [
        (torch.tensor(1.0), r"shape \(\)"),
        (torch.rand(2, 3, 4), r"shape \(2, 3, 4\)"),
        (torch.rand(2, 0), r"shape \(2, 0\)"),
        (torch.tensor([1, 2]), r"shape \(2,\) int64"),
        (torch.ones(2, 3, dtype=torch.bool), r"shape \(2, 3\) bool"),
        (None, "NoneType"),
        ("cat", "str"),
        ([], r"list\(\)"),
        ({}, r"dict\(\)"),
        ((torch.rand(2, 5, 8), LOGITS), r"tuple\(shape \(2, 5, 8\), shape \(2, 3\)\)"),
        ([{"logits": LOGITS[0]}, {"logits": LOGITS[1]}], r"list\(dict\(logits: shape \(3,\)\), dict\("),
        (
            {"logits": torch.rand(2, 5, 3), "pred_boxes": torch.rand(2, 5, 4)},
            r"dict\(logits: shape \(2, 5, 3\), pred_b",
        ),
        ({"boxes": torch.rand(2, 5, 4), "scores": torch.rand(2, 5)}, r"dict\(boxes: shape \(2, 5, 4\), scores: shape"),
        (tuple(torch.rand(1, 2, i + 1) for i in range(9)), r"tuple\(.*, shape \(1, 2, 8\), \.\.\.\)"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_came_and_what_to_pass(output, came):
    words = (
        rf"^model: expected class scores \(N, K\).* got {came}.*; pass score_fn=, a function of the output and class"
    )
    with pytest.raises(UnreadableOutputError, match=words):
        READ(output)


@pytest.mark.parametrize(
    ("output", "which"),
    [
        (
            {"cats": LOGITS, "dogs": torch.rand(2, 1)},
            r"got 2 .*: cats: shape \(2, 3\), dogs: shape \(2, 1\); pass score",
        ),
        (
            {"a": {"logits": LOGITS}, "b": torch.rand(2, 3, 4, 4), "c": torch.rand(2, 5, 5)},
            r"got 2 .*: a: dict\(logits: shape \(2, 3\)\), b: shape \(2, 3, 4, 4\); pass score_fn=",
        ),
    ],
)
def test_of_several_entries_none_is_guessed(output, which):
    with pytest.raises(UnreadableOutputError, match=rf"^model: expected one entry with class scores.*{which}"):
        READ(output)
    del output[next(iter(output))]
    assert READ(output).table.shape[0] == 2  # the negative control: one alone is read


# --- what the reader is told


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ({"task": "binary"}, ValueError, "task: expected 'multiclass', 'multilabel' or None, got 'binary'"),
        ({"score_fn": 3}, TypeError, "score_fn: expected a function of the output and class_idx .*, got int"),
        ({"num_classes": 0}, ValueError, "num_classes: expected a whole number above 0, got 0"),
        ({"num_classes": 2.0}, ValueError, "num_classes: expected a whole number above 0, got 2.0"),
        ({"num_classes": True}, ValueError, "num_classes: expected a whole number above 0, got True"),
    ],
)
def test_arguments_of_the_reader_are_checked(told, error, words):
    with pytest.raises(error, match=words):
        OutputReader(**told)


def test_one_output_is_not_several_classes():
    with pytest.raises(
        ValueError, match=r"task: 'multiclass' needs .* got one output for each picture, shape \(2, 1\)"
    ):
        OutputReader(task="multiclass")(torch.rand(2, 1))


def test_an_output_that_tells_its_number_of_classes_is_believed():
    assert OutputReader(num_classes=3)(LOGITS).table.shape == (2, 3)
    assert OutputReader(num_classes=2)(torch.rand(4)).table.shape == (4, 2)
    assert OutputReader(num_classes=4)(LOGITS).table.shape == (2, 3)


def own_score(output, class_idx):
    return output["tokens"].mean(1).gather(1, class_idx[:, None])[:, 0] * 2


def test_a_score_of_the_users_own_is_explained_and_makes_the_table_class_by_class():
    tokens = torch.tensor(
        [[[1.0, 2.0], [3.0, 6.0]], [[0.0, -4.0], [0.0, 0.0]]], dtype=torch.float64, requires_grad=True
    )
    found = OutputReader(score_fn=own_score, num_classes=2)({"tokens": tokens})
    assert found.table.tolist() == [[4.0, 8.0], [0.0, -4.0]]
    assert found.table.dtype is torch.float32
    assert found.predicted.tolist() == [1, 0]
    score = found.of(torch.tensor([0, 1]))
    assert score.tolist() == [4.0, -4.0]
    (gradient,) = torch.autograd.grad(score.sum(), tokens)
    assert gradient.tolist() == [[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]


def test_without_a_number_of_classes_there_is_no_table_where_the_output_cannot_be_read():
    output = {"tokens": torch.rand(2, 4, 3)}
    found = OutputReader(score_fn=own_score)(output)
    assert found.table is None
    assert found.predicted is None
    assert found.device == torch.device("cpu")
    torch.testing.assert_close(found.of(torch.tensor([2, 2])), output["tokens"][:, :, 2].mean(1) * 2)
    with pytest.raises(ValueError, match=r"^num_classes: the model's output does not tell how many classes"):
        found.matrix  # noqa: B018


def twice(output, class_idx):
    logits = output[1] if isinstance(output, tuple) else output
    return 2 * logits.gather(1, class_idx[:, None])[:, 0]


def test_beside_an_own_score_a_readable_output_gives_the_table_but_one_picked_by_place_does_not():
    found = OutputReader(score_fn=twice)(LOGITS)
    assert torch.equal(found.table, LOGITS)
    assert found.of(torch.tensor([0, 0])).tolist() == [2.0, 0.0]
    embedding_first = (torch.rand(2, 8), LOGITS)
    assert OutputReader(score_fn=twice)(embedding_first).table is None
    assert READ(embedding_first).table.shape == (2, 8)  # the negative control: alone it would be read
    assert torch.equal(OutputReader(score_fn=twice, num_classes=3)(embedding_first).table, 2 * LOGITS)


@pytest.mark.parametrize(
    ("task", "output", "link"),
    [
        (None, LOGITS, "softmax"),
        ("multilabel", LOGITS, "sigmoid"),
        (None, torch.rand(2, 1), "sigmoid"),
        ("multiclass", torch.rand(2, 1), "softmax"),
        (None, torch.rand(2, 4, 4), "softmax"),
    ],
)
def test_own_scores_become_probabilities_as_the_task_says_else_as_the_output_does(task, output, link):
    reader = OutputReader(task=task, score_fn=lambda o, k: o.flatten(1)[:, 0] * k, num_classes=2)
    assert reader(output).link == link


@pytest.mark.parametrize(
    ("score", "came"),
    [
        (lambda o, k: 0.5, "float"),
        (lambda o, k: o, r"shape \(2, 3\)"),
        (lambda o, k: o[0, 0], r"shape \(\)"),
        (lambda o, k: o.argmax(1), r"shape \(2,\) int64"),
    ],
)
def test_an_own_score_that_is_none_is_refused(score, came):
    words = rf"score_fn: expected scores of shape \(2,\), one for each picture, got {came}"
    with pytest.raises(TypeError, match=words):
        OutputReader(score_fn=score)(LOGITS).of(torch.tensor([0, 1]))
    with pytest.raises(TypeError, match=words):
        OutputReader(score_fn=score, num_classes=2)(LOGITS)


def test_an_output_without_tensors_does_not_tell_of_how_many_pictures_it_is():
    reader = OutputReader(score_fn=lambda o, k: torch.zeros(len(k)), num_classes=2)
    with pytest.raises(
        ValueError, match=r"num_classes: cannot tell of how many pictures .* got dict\(loss: shape \(\)\)"
    ):
        reader({"loss": torch.tensor(1.0)})
    assert OutputReader(score_fn=reader.score_fn)("odd").device is None


def test_a_reader_can_be_sent_to_another_process():
    reader = OutputReader(task="multilabel", score_fn=own_score, num_classes=2)
    assert pickle.loads(pickle.dumps(reader)) == reader


# --- scores


def test_margins_and_probabilities_by_link():
    own, other = torch.tensor([1, 0]), torch.tensor([2, 2])
    softmax, sigmoid, identity = (ClassScores(LOGITS, link) for link in ("softmax", "sigmoid", "identity"))
    assert softmax.margin(own, other).tolist() == [1.0, 2.0]
    assert sigmoid.margin(own, other).tolist() == identity.margin(own, other).tolist() == [3.0, 0.0]
    e = torch.e
    expected = torch.tensor([e**3 / (e + e**3 + e**2), 1 / (1 + e**-1 + e**-2)])
    torch.testing.assert_close(softmax.probability(own), expected)
    torch.testing.assert_close(sigmoid.probability(own), torch.tensor([1 / (1 + e**-3), 0.5]))
    assert identity.probability(own).tolist() == [3.0, 0.0]


def test_of_one_output_the_two_probabilities_sum_to_one():
    found = READ(torch.tensor([0.7, -3.0]))
    both = found.probability(torch.tensor([0, 0])) + found.probability(torch.tensor([1, 1]))
    torch.testing.assert_close(both, torch.ones(2))
    assert found.margin(torch.tensor([1, 0]), torch.tensor([0, 1])).tolist() == pytest.approx([0.7, 3.0])


@pytest.mark.parametrize(
    ("class_idx", "words"),
    [
        ([0, 3], "class_idx: expected 0 to 2 for the model's 3 scores, got 3"),
        ([-1, 2], "class_idx: expected 0 to 2 for the model's 3 scores, got -1"),
        ([0, 1, 2], "model: expected a row of scores for each of 3 pictures from its forward, got 2"),
    ],
)
@pytest.mark.parametrize("reader", [READ, OutputReader(score_fn=twice)])
def test_classes_and_rows_that_are_not_there_are_named(class_idx, words, reader):
    assert len(reader(LOGITS).of(torch.tensor([0, 2]))) == 2
    with pytest.raises(ValueError, match=words):
        reader(LOGITS).of(torch.tensor(class_idx))


def test_what_is_kept_has_no_graph_and_no_way_back_to_the_output():
    logits = LOGITS.clone().requires_grad_()
    kept = OutputReader(score_fn=twice)(logits * 1).kept()
    assert not kept.table.requires_grad
    assert kept.table.dtype is torch.float64
    assert kept.pick is None
    assert kept.of(torch.tensor([1, 1])).tolist() == [3.0, -1.0]
    nothing = OutputReader(score_fn=own_score)({"tokens": torch.rand(2, 4, 3)}).kept()
    assert (nothing.table, nothing.pick, nothing.device) == (None, None, None)


# --- models of other packages


@pytest.mark.parametrize(
    ("name", "kind", "side"), [("googlenet", GoogLeNetOutputs, 64), ("inception_v3", InceptionOutputs, 299)]
)
def test_auxiliary_heads_are_left_out(name, kind, side):
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, init_weights=False, num_classes=4, aux_logits=True)
        output = model.train()(pictures(2, (side, side)))
    assert type(output) is kind
    assert torch.equal(READ(output).table, output.logits)
    assert not torch.equal(output.logits, output[1])


def test_of_image_and_text_the_images_side_is_read():
    clip = pytest.importorskip("transformers.models.clip.modeling_clip")
    output = clip.CLIPOutput(
        logits_per_image=LOGITS, logits_per_text=LOGITS.T, text_embeds=torch.rand(3, 8), image_embeds=torch.rand(2, 8)
    )
    assert torch.equal(READ(output).table, LOGITS)
