"""Modules that train in their own ways, for the identity matrix."""

import torch
from small_training import CLASSES, Module
from torch import nn
from torch.nn import functional as F


class Silent(Module):
    """Logs nothing, so that a compiled step is one graph."""

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self(batch[0])


class Manual(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, index):
        optimizer = self.optimizers()
        self.manual_backward(F.cross_entropy(self(batch[0]), batch[1]) / 2)
        if (index + 1) % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()


class TwoOptimizers(Manual):
    def training_step(self, batch, index):
        loss = F.cross_entropy(self(batch[0]), batch[1])
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        self.optimizers()[index % 2].step()

    def configure_optimizers(self):
        return [torch.optim.Adam(self.net.conv2.parameters(), 1e-2), torch.optim.SGD(self.net.head.parameters(), 0.1)]


class Adversarial(Manual):
    """Two networks in turn, each with its optimizer toggled."""

    def __init__(self):
        super().__init__()
        self.noise = nn.Conv2d(3, 3, 3, padding=1)

    def training_step(self, batch, index):
        x, y = batch
        for optimizer, sign in zip(self.optimizers(), (1, -1), strict=True):
            self.toggle_optimizer(optimizer)
            loss = sign * F.cross_entropy(self(x + 0.1 * self.noise(torch.randn_like(x)).tanh()), y)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.untoggle_optimizer(optimizer)

    def configure_optimizers(self):
        return [torch.optim.Adam(part.parameters(), 1e-3) for part in (self.net, self.noise)]


def optimised_by(make, schedule=None):
    """A module whose optimizer is ``make(parameters)``, with a scheduler for every step if one is given."""

    def configure_optimizers(self):
        optimizer = make(self.parameters())
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule(optimizer), "interval": "step"}}

    return type("Optimised", (Module,), {"configure_optimizers": configure_optimizers})


class WithPlateau(Module):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.05)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


class ReadsGradients(Module):
    def on_before_optimizer_step(self, optimizer):
        norms = [p.grad.norm() for p in self.parameters() if p.grad is not None]
        self.log("gradient_norm", torch.stack(norms).norm())

    def on_after_backward(self):
        for p in self.parameters():
            if p.grad is not None:
                p.grad.add_(1e-3 * torch.randn_like(p.grad))


class GradientPenalty(Module):
    def training_step(self, batch, index):
        entry = batch[0].clone().requires_grad_()
        scores = self(entry)
        (slope,) = torch.autograd.grad(scores.logsumexp(1).sum(), entry, create_graph=True)
        loss = F.cross_entropy(scores, batch[1]) + slope.square().sum((1, 2, 3)).mean()
        self.log("train_loss", loss)
        return loss


class AveragedCopy(Module):
    """An averaged copy of the network inside the module, as self-supervised methods keep."""

    def __init__(self):
        super().__init__()
        self.average = torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
        )

    def on_train_batch_end(self, *args):
        self.average.update_parameters(self.net)

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), 0.05)


class WithLearningRate(Module):
    """What tuners ask for: attributes for the rate and the batch size, and loaders of its own."""

    def __init__(self):
        super().__init__()
        self.lr, self.batch_size = 0.05, 4

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)

    def train_dataloader(self):
        from small_training import Pictures

        return torch.utils.data.DataLoader(Pictures(), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        from small_training import val_loader

        return val_loader()


class Backboned(Module):
    def __init__(self):
        super().__init__()
        net = self.net
        self.backbone = nn.Sequential(net.conv1, net.norm1, net.relu, net.conv2, net.norm2, nn.ReLU())
        del self.net
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.backbone(x).mean((2, 3)))

    def configure_optimizers(self):
        return torch.optim.SGD(filter(lambda p: p.requires_grad, self.parameters()), 0.05)


class SeveralLoaders(Module):
    """A dict of training loaders and two for validation."""

    def training_step(self, batch, index):
        (x, y), (z, _) = batch["a"], batch["b"]
        loss = F.cross_entropy(self(x + 0.1 * z), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index, dataloader_idx=0):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))
