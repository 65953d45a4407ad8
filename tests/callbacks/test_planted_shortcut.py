"""A real training: a tag that gives the class away raises the alert, the same tag at random does not."""

import pytest
import torch
from small_training import ours, seed, trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from camdebug import CAMMonitor, Level, ProbeSet
from camdebug.callbacks.messages import ShortcutWarning
from camdebug.demo.data import CLASS_NAMES, CLASSES, boxes_of, draw_scenes, draw_tags, paint
from camdebug.demo.model import DigitClassifier


def small_cnn():
    layers, channels = [], 3
    for width, stride in ((16, 2), (32, 2), (64, 1), (64, 1)):
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Classifier(DigitClassifier):
    def __init__(self):
        super().__init__()
        self.net = small_cnn()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 4e-3)


def watched_training(strength):
    seed(0)
    scenes, held_out = draw_scenes(700, seed=0, held_out=False), draw_scenes(150, seed=0, held_out=True)
    pictures = paint(scenes, draw_tags(scenes.label, strength=strength, seed=0))
    shown = paint(held_out, draw_tags(held_out.label, strength=strength, seed=1))
    labels = torch.from_numpy(held_out.label)
    probes = ProbeSet(shown, labels, boxes_of(held_out), class_names=CLASS_NAMES)
    watching = CAMMonitor(probes, chunk_size=64, verbose=False)
    fitted = trainer(max_epochs=6, callbacks=watching)
    fitted.fit(
        Classifier(),
        DataLoader(TensorDataset(pictures, torch.from_numpy(scenes.label)), batch_size=25, shuffle=True),
        DataLoader(TensorDataset(shown, labels), batch_size=150),
    )
    return watching, fitted


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_planted_shortcut_raises_the_alert():
    with pytest.warns(ShortcutWarning) as caught:
        watching, fitted = watched_training(strength=0.95)
    told = [str(w.message) for w in caught if issubclass(w.category, ShortcutWarning)]
    suspects = [v.name for v in watching.last_record.verdicts if v.level is Level.SUSPECT]
    assert suspects
    assert float(fitted.callback_metrics["camdebug/suspect_classes"]) == len(suspects)
    assert float(fitted.callback_metrics["camdebug/background_evidence"]) > 0
    for name in suspects:  # once for each change of state
        assert sum(f"`{name}`: SUSPECT" in text for text in told) == 1
        assert sum(f"`{name}`: WATCH" in text for text in told) <= 1


def test_the_same_tag_at_random_raises_none():
    with ours() as said:
        watching, fitted = watched_training(strength=0.0)
    assert said == []
    assert float(fitted.callback_metrics["camdebug/suspect_classes"]) == 0
    assert not any(v.level.is_alert for v in watching.last_record.verdicts)
    assert any(v.level is Level.NO_EVIDENCE for v in watching.last_record.verdicts)
