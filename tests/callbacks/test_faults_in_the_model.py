"""What a model may do under probes: it raises, overflows or changes. The training is the same, bit for bit."""

import gc
import weakref

import pytest
import torch
from faulty import CHUNK, Fails, both_looks, case_of, disturbed, failing, lost, undisturbed, watch
from small_training import Module, differences, monitor, run


class WordlessError(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


ERRORS = {
    "RuntimeError": (RuntimeError("no five"), "RuntimeError: no five"),
    "StopIteration": (StopIteration("no five"), "RuntimeError: generator raised StopIteration"),
    "RecursionError": (RecursionError("too deep"), "RecursionError: too deep"),
    "AssertionError without words": (AssertionError(), "AssertionError"),
    "an error that cannot be printed": (WordlessError(), "WordlessError"),
    "an error of many lines": (ValueError("first\nsecond\nthird"), "ValueError: first"),
    "an error with control characters": (ValueError("red \x1b[31malert\x00"), "ValueError: red [31malert"),
    "an error of a megabyte": (ValueError("x" * 2**20), f"ValueError: {'x' * 297}..."),
    "an error that blames an argument of ours": (ValueError("probes: no"), "ValueError: probes: no"),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_a_forward_that_raises(fault):
    error, words = ERRORS[fault]
    disturbed(failing(error), said=both_looks(words), without=undisturbed())


class HookFails(Module):
    def __init__(self):
        super().__init__()
        self.net.conv1.register_forward_hook(self.fail)

    def fail(self, module, inputs, output):
        if len(output) == CHUNK:
            raise RuntimeError("no five")


class PreHookFails(Module):
    def __init__(self):
        super().__init__()
        self.net.conv2.register_forward_pre_hook(self.fail)

    def fail(self, module, inputs):
        if len(inputs[0]) == CHUNK:
            raise RuntimeError("no five")


class BackwardHookFails(Module):
    def __init__(self):
        super().__init__()
        self.net.head.register_full_backward_hook(self.fail)

    def fail(self, module, grad_input, grad_output):
        if len(grad_output[0]) == CHUNK:
            raise RuntimeError("no five")


class FailingFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, at):
        if at == "forward" and len(x) == CHUNK:
            raise RuntimeError("no five")
        ctx.at = at
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if ctx.at == "backward" and len(gradient) == CHUNK:
            raise RuntimeError("no five")
        return gradient, None


class FunctionFails(Module):
    def forward(self, x):
        return FailingFunction.apply(self.net(x), "forward")


class GradientFails(Module):
    def forward(self, x):
        return FailingFunction.apply(self.net(x), "backward")


class FailsUnderNoGrad(Module):
    def forward(self, x):
        with torch.no_grad():
            if len(x) == CHUNK:
                raise RuntimeError("no five")
        return self.net(x)


class FailsInEvaluationMode(Module):
    def forward(self, x):
        if not self.training and len(x) == CHUNK:
            raise RuntimeError("no five")
        return self.net(x)


class ChangesThenFails(Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        if len(x) == CHUNK:
            raise RuntimeError("no five")
        return self.net(x) * (1 + 1e-2 * self.calls)


class DropsABufferThenFails(Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x):
        if len(x) == CHUNK:
            del self.scale
            raise RuntimeError("no five")
        return self.net(x) * self.scale


class HangsAHookOnItselfThenFails(Module):
    def forward(self, x):
        if len(x) == CHUNK:
            self.net.conv1.register_forward_hook(lambda module, inputs, output: output * 2)
            raise RuntimeError("no five")
        return self.net(x)


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize(
    "model",
    [
        *(HookFails, PreHookFails, BackwardHookFails, FunctionFails, GradientFails, FailsUnderNoGrad),
        *(FailsInEvaluationMode, ChangesThenFails, DropsABufferThenFails, HangsAHookOnItselfThenFails),
    ],
    ids=lambda model: model.__name__,
)
def test_a_model_that_fails_at_probes(model, validation):
    disturbed(model, said=both_looks("RuntimeError: no five"), validation=validation)


def test_a_forward_that_fails_at_swapped_backgrounds_alone():
    class FailsAtComposites(Module):
        """In a look the first 17 forwards are of the probes themselves: 16 chunks, and one of the layer's search."""

        seen = 0

        def on_validation_epoch_end(self):
            self.seen = 0

        def forward(self, x):
            if not self.training and len(x) == CHUNK:
                self.seen += 1
                if self.seen > 16 and self.global_step:
                    raise RuntimeError("no composites")
            return self.net(x)

    disturbed(FailsAtComposites, monitor(chunk_size=CHUNK), said=both_looks("RuntimeError: no composites"))


def test_a_look_that_fails_once_is_reported_once_and_not_summed_up():
    class FailsAtFirst(Fails):
        def forward(self, x):
            return super().forward(x) if self.current_epoch == 0 and self.global_step else self.net(x)

    watching = watch()
    disturbed(FailsAtFirst, watching, said=[lost("RuntimeError: no five")])
    assert watching.last_record.epoch == 1


def test_looks_that_fail_for_several_reasons_are_summed_up_with_each():
    class FailsVariously(Module):
        def forward(self, x):
            if len(x) == CHUNK:
                raise RuntimeError("even" if self.current_epoch % 2 == 0 else "odd")
            return self.net(x)

    outcome = run(case_of(FailsVariously, max_epochs=3), watch())
    assert outcome.said[1:] == [
        "camdebug, in sum: lost 3 of 3 looks (epochs 0, 2: RuntimeError: even; epoch 1: RuntimeError: odd)."
    ]
    assert differences(run(case_of(FailsVariously, max_epochs=3)).state, outcome.state) == []


# Nothing is kept of what failed


def test_a_lost_look_keeps_neither_the_model_nor_its_tensors():
    kept = []

    class Holds(Module):
        def forward(self, x):
            if len(x) == CHUNK:
                big = torch.zeros(1000)
                kept.append(weakref.ref(big))
                raise RuntimeError("no five", self, big)
            return self.net(x)

    watching = watch()
    outcome = run(case_of(Holds), watching)
    assert len(outcome.said) == 2
    model = weakref.ref(outcome.model)
    for name in ("log", "log_dict"):  # Lightning's own
        vars(watching).pop(name, None)
    del outcome
    gc.collect()
    assert kept
    assert [ref() for ref in kept] == [None] * len(kept)
    assert model() is None
    assert watching.last_record is None
