"""What was found for a model and a way of using it, remembered without keeping either alive."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from types import MethodType
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

from camdebug.cam.model.calling import Called
from camdebug.cam.model.reading import OutputReader
from camdebug.cam.model.subject import Subject
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import Layout
from camdebug.cam.target.tracing import clean_name

_MOST = 8


@dataclass(eq=False)
class Question:
    """Everything that the search for target layers depends on and that can be seen from outside.

    Objects are held by weak references, of which there is one for each object, the same as long as somebody holds it:
    so ``key`` may name objects by the number of their reference, and a number is not given away while it is remembered.
    ``gradient`` stands beside the key: layers that were found with gradients serve without them too.

    Raises:
        TypeError: when a function of the user's can be held by no weak reference.
    """

    gradient: bool
    key: tuple[Hashable, ...] = ()
    refs: list[ref[object]] = field(default_factory=list)

    @classmethod
    def of(cls, subject: Subject, images: Tensor, asked: object, *, gradient: bool) -> Question:
        """The question which layers are meant by ``asked``: a name, a module, a list of them, or ``None``."""
        question = cls(gradient)
        several = asked if isinstance(asked, (list, tuple)) else [asked]
        question.key = (
            tuple(images.shape[1:]),
            tuple((tuple(tensor.shape[1:]), tensor.dtype) for tensor in subject.inputs),
            isinstance(asked, (list, tuple)),
            tuple(one if one is None or isinstance(one, str) else question._held(one) for one in several),
            tuple((name, question._held(module)) for name, module in subject.model.named_modules()),
            question._of_function(subject.forward_fn),
            question._of_reader(subject.outputs),
        )
        return question

    @property
    def is_alive(self) -> bool:
        """Whether all objects that it is about are."""
        return all(held() is not None for held in self.refs)

    def _of_reader(self, reader: object) -> Hashable:
        if type(reader) is OutputReader:
            return (reader.task, reader.num_classes, self._of_function(reader.score_fn))
        return self._of_function(reader)

    def _of_function(self, function: object) -> Hashable:
        """A method is made anew each time it is looked up, and what tells errors too; what they are made of stays."""
        function = function.function if isinstance(function, Called) else function
        parts = (function.__self__, function.__func__) if isinstance(function, MethodType) else (function,)
        return tuple(None if part is None else self._held(part) for part in parts)

    def _held(self, thing: object) -> int:
        self.refs.append(ref(thing))
        return id(self.refs[-1])


@dataclass(frozen=True)
class _Known:
    """An answer: layers by name. It holds no module, so it keeps no model alive."""

    question: Question
    layers: tuple[tuple[str, Layout, str], ...]


_known: WeakKeyDictionary[nn.Module, dict[tuple[Hashable, ...], _Known]] = WeakKeyDictionary()


def recalled(model: nn.Module, question: Question) -> tuple[TargetLayer, ...] | None:
    """The answer to a question, if it was asked before and nothing that it depends on is another one now."""
    known = _known.get(model, {}).get(question.key)
    if known is None or question.gradient > known.question.gradient:
        return None
    named = {clean_name(name): module for name, module in model.named_modules()}
    return tuple(TargetLayer(named[name], name, layout, reason) for name, layout, reason in known.layers)


def remember(model: nn.Module, question: Question, layers: Sequence[TargetLayer]) -> None:
    """Keep an answer, and the last few others about the same model."""
    others = [(key, known) for key, known in _known.get(model, {}).items() if known.question.is_alive]
    kept = dict(others[-(_MOST - 1) :])
    kept.pop(question.key, None)
    kept[question.key] = _Known(question, tuple((layer.name, layer.layout, layer.reason) for layer in layers))
    _known[model] = kept
