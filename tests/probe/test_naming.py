import re

import pytest

from camdebug.probe.naming import settle_names
from camdebug.sources import AnnotatedObject, Annotations, Entry


def annotations(*names, ignored=(), kind="boxes", declared=()):
    """One picture for each name."""
    places = (0.0, 0.0, 1.0, 1.0) if kind == "boxes" else None
    objects = [AnnotatedObject(n, places) for n in names] + [AnnotatedObject(n, places, ignored=True) for n in ignored]
    entries = [Entry(f"{i}.png", lambda: None, (thing,)) for i, thing in enumerate(objects)]
    return Annotations(entries, tuple(dict.fromkeys([*declared, *names, *ignored])), kind, "a test, 3 pictures")


def refused(error, message, *arguments, **options):
    with pytest.raises(error, match=re.escape(message)):
        settle_names(*arguments, **options)


def test_names_are_matched_with_the_models_classes_in_the_order_of_its_outputs():
    naming = settle_names(annotations("cat", "dog"), class_names=["dog", "fox", "cat"])
    assert naming.names == ("dog", "fox", "cat")
    assert dict(naming.index) == {"cat": 2, "dog": 0}


def test_class_to_idx_gives_the_order_whatever_its_own_order_is():
    naming = settle_names(annotations("cat", "dog"), class_to_idx={"dog": 1, "cat": 0})
    assert naming.names == ("cat", "dog")
    assert dict(naming.index) == {"cat": 0, "dog": 1}


def test_label_map_renames_and_may_join_several_names_in_one_class():
    naming = settle_names(
        annotations("Katze", "kitten", "dog"), class_names=["cat", "dog"], label_map={"Katze": "cat", "kitten": "cat"}
    )
    assert dict(naming.index) == {"Katze": 0, "kitten": 0, "dog": 1}


def test_unknown_names_are_one_error_with_near_matches_counts_and_the_mends():
    source = annotations("Dog", "Dog", "tree", "cat")
    refused(
        ValueError,
        "class_names: 2 annotated names not among the model's classes: 'Dog', 2 objects (near: dog); 'tree', 1 object. "
        "Say what each stands for with label_map={'Dog': class name}, or pass others='ignore' to make their objects "
        "ignored regions",
        source,
        class_names=["cat", "dog"],
    )


def test_unknown_names_can_be_ignored():
    naming = settle_names(annotations("Dog", "cat"), class_names=["cat", "dog"], others="ignore")
    assert dict(naming.index) == {"cat": 0}


def test_names_of_ignored_objects_need_not_be_known():
    assert dict(settle_names(annotations("cat", ignored=["void"]), class_names=["cat"]).index) == {"cat": 0}


def test_no_match_at_all_is_an_error_even_when_others_are_ignored():
    source = annotations("Dog", "Cat")
    message = "class_names: none of 'cat', 'dog' is annotated; a test, 3 pictures names 'Cat' (near: cat), 'Dog' (near"
    refused(ValueError, message, source, class_names=["cat", "dog"], others="ignore")
    refused(ValueError, "source: a test, 3 pictures has no annotated object", annotations(), class_names=["cat"])


def test_boxes_need_the_models_order_and_say_what_names_there_are():
    refused(
        ValueError,
        "class_names: expected the model's classes in the order of its outputs, got none; a test, 3 pictures names "
        "cat, dog. Pass class_names=[...], or class_to_idx={name: index}",
        annotations("dog", "cat"),
    )


def test_folders_of_pictures_have_their_own_sorted_names():
    naming = settle_names(annotations("dog", "cat", kind=None, declared=["emu"]))
    assert naming.names == ("cat", "dog", "emu")
    assert dict(naming.index) == {"emu": 2, "dog": 1, "cat": 0}


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ({"cat": 0, "dog": 2}, ValueError, "class_to_idx: expected the indices 0 to K-1 of K classes, each once, got"),
        ({"cat": 0, "dog": 0}, ValueError, "got cat: 0, dog: 0"),
        ({}, ValueError, "each once, got none"),
        ({"cat": "0"}, TypeError, "class_to_idx: expected whole numbers as indices"),
        (["cat"], TypeError, "class_to_idx: expected {class name: index}, got ['cat']"),
        ({0: "cat"}, TypeError, "class_to_idx: expected {class name: index}"),
    ],
)
def test_class_to_idx_must_name_every_output_once(indices, error, message):
    refused(error, message, annotations("cat"), class_to_idx=indices)


@pytest.mark.parametrize(
    ("label_map", "error", "message"),
    [
        ({"Cat": "cat"}, ValueError, "label_map: expected names of the annotations, got 'Cat' (near: cat)"),
        ({"cat": "Dog"}, ValueError, "label_map: expected names of the model's classes, got 'Dog' (near: dog)"),
        ({"cat": 0}, TypeError, "label_map: expected {annotated name: class name}, got {'cat': 0}"),
        ("cat", TypeError, "label_map: expected {annotated name: class name}, got 'cat'"),
    ],
)
def test_a_label_map_with_a_slip_is_refused(label_map, error, message):
    refused(error, message, annotations("cat", "dog"), class_names=["cat", "dog"], label_map=label_map)


def test_other_wrong_arguments_are_refused():
    source = annotations("cat")
    refused(ValueError, "others: expected 'error' or 'ignore', got 'drop'", source, class_names=["cat"], others="drop")
    both = {"class_names": ["cat"], "class_to_idx": {"cat": 0}}
    refused(ValueError, "class_names, class_to_idx: expected one of them, got both", source, **both)
    refused(ValueError, "class_names: expected different names", source, class_names=["cat", "cat"])
