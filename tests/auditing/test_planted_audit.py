"""A net that has learned to read a tag in the corner is confirmed by an audit; its clean twin shows no evidence."""

import torch
from small_audit import quick
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from camdebug import Level

SIDE, TAG = 24, 4


class Squares(Dataset):
    """A coloured square somewhere on noise; the colour is its class.

    In the corner there is a tag of some colour. ``planted``: it is that of the class, and the square's often is not.
    """

    classes = ("red", "green", "blue")

    def __init__(self, count, *, planted, seed):
        source = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(count) % 3
        self.images = 0.2 * torch.randn(count, 3, SIDE, SIDE, generator=source)
        corner = torch.randint(0, SIDE - TAG - 10, (count, 2), generator=source)
        at_random = torch.randint(0, 3, (2, count), generator=source)
        often_wrong = torch.rand(count, generator=source) < 0.7
        square = torch.where(often_wrong, at_random[0], self.labels) if planted else self.labels
        tag = self.labels if planted else at_random[1]
        for i, (x, y) in enumerate(corner.tolist()):
            self.images[i, square[i], y : y + 9, x : x + 9] += 1
            self.images[i, tag[i], -TAG:, -TAG:] += 1
        self.boxes = torch.cat([corner, corner + 9], 1).float()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i], {"boxes": self.boxes[i : i + 1], "labels": self.labels[i : i + 1]}


def trained(*, planted):
    torch.manual_seed(0)
    layers, channels = [], 3
    for width, stride in ((12, 2), (24, 1)):
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))
    data = Squares(600, planted=planted, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(4):
        for rows in torch.randperm(len(data)).split(25):
            optimizer.zero_grad()
            F.cross_entropy(model(data.images[rows]), data.labels[rows]).backward()
            optimizer.step()
    return model


def audited(*, planted):
    return quick(trained(planted=planted), Squares(150, planted=planted, seed=1), per_class=40, batch_size=64)


def test_a_planted_shortcut_is_confirmed():
    report = audited(planted=True)
    assert [v.level for v in report.look.classes] == [Level.CONFIRMED] * 3
    assert all(v.swap_gap.present >= 0.2 for v in report.look.classes)
    assert report.look.verdict.level is Level.CONFIRMED
    text, first = str(report), report.look.classes[0]
    assert text.startswith("camdebug audit: the background matters for `red` (confirmed), ")
    assert f"`red`: CONFIRMED, {first.severity.value}. Putting other classes' backgrounds behind" in text
    assert f"Pictures that depend most on it: {', '.join(report.look.worst[0])}." in text
    assert report.look.probes == (40, 40, 40)


def test_its_clean_twin_shows_no_evidence():
    report = audited(planted=False)
    assert [v.level for v in report.look.classes] == [Level.NO_EVIDENCE] * 3
    assert min(c.recall for c in report.classes) > 0.8
    assert str(report).startswith("camdebug audit: no evidence that a class leans on its background.")
