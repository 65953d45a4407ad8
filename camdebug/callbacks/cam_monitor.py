"""``CAMMonitor``: schedules looks at a model inside a Lightning training, and never harms the training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from camdebug.callbacks import arguments, opening
from camdebug.callbacks import trainer_facts as facts
from camdebug.callbacks.dry_run import DryRun
from camdebug.callbacks.looker import Looker, peers_of
from camdebug.callbacks.messages import Messenger
from camdebug.callbacks.metric_log import MetricLog
from camdebug.callbacks.monitor_looks import MonitorLooks
from camdebug.callbacks.monitor_state import OTHER_PROBES, MonitorState
from camdebug.callbacks.overhead import Overhead
from camdebug.callbacks.record_keeper import RecordKeeper
from camdebug.callbacks.reporter import Reporter
from camdebug.callbacks.schedule import Schedule
from camdebug.callbacks.stopper import ACTIONS, Stopper
from camdebug.cam.methods.registry import MethodChoice
from camdebug.cam.model.reading import OutputScoreFn, Task
from camdebug.cam.model.subject import ForwardFn, model_use
from camdebug.cam.options import PLAIN, MapOptions
from camdebug.cam.target.search import LayerChoice
from camdebug.observe import Observer
from camdebug.observe.whereabouts import reason_for
from camdebug.probe.probe_set import ProbeSet
from camdebug.verdict.alerts import Alert


class CAMMonitor(DryRun, MonitorLooks, MonitorState, *facts.callback_bases()):  # type: ignore[misc]
    """Watch where a model looks while it trains, and warn when a class leans on its background.

    Works in Trainers of ``pytorch_lightning`` and ``lightning.pytorch``. Once an epoch it computes class activation
    maps of the probe set, measures the heat outside the boxes, contrasts the evidence that enters through swapped
    backgrounds, and sends pictures, scalars and verdicts to the Trainer's TensorBoard and W&B loggers. The training
    ends with the same weights, bit for bit, as without it. A failure of its own costs what it is about, such as a look
    or a picture, and is reported once. Everything that looks find is kept on disk as well.

    Metrics (for ``EarlyStopping``, ``ModelCheckpoint`` and loggers): ``camdebug/outside_mass``,
    ``camdebug/log_density_ratio``, ``camdebug/background_evidence``, ``camdebug/swap_gap``,
    ``camdebug/reliance``, ``camdebug/suspect_classes`` and ``camdebug/confirmed_classes`` (that level or worse) and
    more, and for each class ``camdebug/class/<slug>/...``.

    Alerts: one for every change of state that touches *watch* or worse, as a warning, in the dashboards and to
    ``on_alert``. A level higher than ever before always alerts; of other changes each class gets three in a run. Of
    more than six alerts in a look, five are sent and one that counts and names the rest.

    Args:
        probes: the probe set.
        every_n_epochs: look every so many epochs; the first and the last epoch always count. In between monitors
            see the last value again, so give ``EarlyStopping`` a patience that allows for it.
        method: of the maps: a name (``camdebug.method_names()`` lists them), ``"gradcam:ClassName"`` for a class of the
            grad-cam package, or a function ``(model, images, class_idx) -> (N, h, w)`` of your own. Background evidence
            is that of HiResCAM whatever the method, also beside methods that read no layer. One that makes no map of
            the first probe ends the fit before its first step.
        target_layer: dotted name or module, or a list of them, whose maps are fused; by default the last spatial stage.
            Background evidence is measured at the first one.
        options: what is done to the maps, see :class:`camdebug.MapOptions`.
        forward_fn: ``(model, images) -> output``, where ``model(images)`` is not the way to run the model.
        score_fn: ``(output, class_idx (n,)) -> (n,)``, for outputs that are not read by themselves. With ``ddp_spawn``
            functions for ``method``, ``forward_fn`` and ``score_fn`` must be from the top of a module, or the monitor
            switches itself off with a warning.
        task: ``"multiclass"`` or ``"multilabel"``; by default what the output looks like.
        contrast: also measure background evidence and swaps (two more forwards a probe, eight at planned looks).
            Without it only heat at a fixed place can raise an alert.
        log_probes: so many probes are drawn, spread over the classes.
        chunk_size: pictures in one forward.
        alpha: at most this share of clean runs raises an alert, over all classes and looks.
        max_overhead: most time that looks may take, as a share of the training's own. Beyond it, and beyond a minute in
            all, looks become rarer, which is said; ``None`` for no limit.
        seed: of donors and permutations.
        on_alert: called on rank zero with each :class:`camdebug.Alert` that is sent, after the dashboards. Training
            waits for it. An exception that it raises is reported once and training goes on. It is no part of
            checkpoints; with ``ddp_spawn`` it must be a function at the top of a module, or it stays behind with a
            warning.
        action: what follows when a class becomes *confirmed*: ``"warn"`` (the alert, no more), or ``"stop"``: Lightning
            ends the training at the end of that epoch, on all ranks, as soon as its own ``min_epochs`` and
            ``min_steps`` allow. A run that is resumed after a stop goes on, also with ``"stop"``: classes that were
            confirmed before do not stop it, only one that becomes so anew.
        record: keep everything that looks find on disk (see :mod:`camdebug.store`): ``True`` for a folder beside the
            logs of the first logger, a path for that folder, ``False`` for nowhere. A folder that is in use is left
            alone and another one taken, which is said.
        other_probes: what follows when a fit is resumed from a checkpoint that was made with other probes: ``"refuse"``
            (it ends before its first step), or ``"restart"``: a new series of looks begins, which is said.
        name: first part of metric names, dashboard tags and alert titles; two monitors in one Trainer need different
            ones.
        verbose: print the choices once, at the start.

    Attributes:
        last_record: everything that the last look found.

    Raises:
        TypeError, ValueError: when an argument is wrong; the message names it.
    """

    def __init__(
        self,
        probes: ProbeSet,
        *,
        every_n_epochs: int = 1,
        method: MethodChoice = "hirescam",
        target_layer: LayerChoice = None,
        options: MapOptions = PLAIN,
        forward_fn: ForwardFn | None = None,
        score_fn: OutputScoreFn | None = None,
        task: Task | None = None,
        contrast: bool = True,
        log_probes: int = 16,
        chunk_size: int = 32,
        alpha: float = 0.05,
        max_overhead: float | None = 0.5,
        seed: int = 0,
        on_alert: Callable[[Alert], object] | None = None,
        action: Literal["warn", "stop"] = "warn",
        record: bool | str | Path = True,
        other_probes: Literal["refuse", "restart"] = "refuse",
        name: str = "camdebug",
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self.probes = arguments.check_probes(probes)
        arguments.check_count("every_n_epochs", every_n_epochs, least=1)
        arguments.check_count("chunk_size", chunk_size, least=1)
        arguments.check_count("log_probes", log_probes, least=0)
        arguments.check_count("seed", seed, least=0)
        arguments.check_share("alpha", alpha)
        arguments.check_positive("max_overhead", max_overhead)
        arguments.check_callable("on_alert", on_alert, takes="one camdebug.Alert")
        arguments.check_choice("action", action, ACTIONS)
        arguments.check_folder("record", record)
        arguments.check_choice("other_probes", other_probes, OTHER_PROBES)
        arguments.check_name("name", name)
        self.name = name
        self.verbose = verbose
        own: dict[str, object] = {
            "method:": None if method == "hirescam" else method,
            "target_layer:": target_layer,
            "forward_fn:": forward_fn,
            "score_fn:": score_fn,
            "task:": task,
        }
        self._own_arguments = ("probes:", *(name for name, value in own.items() if value is not None))
        self._messages = Messenger()
        self._observer = Observer(
            probes,
            method=method,
            target_layer=target_layer,
            options=options,
            use=model_use(
                forward_fn=forward_fn, score_fn=score_fn, task=task, num_classes=len(self.probes.class_names)
            ),
            contrast=contrast,
            chunk_size=chunk_size,
            alpha=alpha,
            seed=seed,
        )
        self._looker = Looker(self._observer, self._messages.left_out)
        self._schedule = Schedule(every_n_epochs)
        self._overhead = Overhead(max_overhead)
        tested = self._observer.testable_classes
        self._metrics = MetricLog.of(probes, name=name, contrast=contrast, tested=tested, messages=self._messages)
        self._reporter = Reporter(probes, log_probes=log_probes, name=name, messages=self._messages, on_alert=on_alert)
        self._keeper = RecordKeeper(record, name=name, messages=self._messages)
        self._stopper = Stopper(action, self._messages)
        self._other_probes = other_probes
        self._fitting = True
        self._forget()

    @property
    def state_key(self) -> str:
        """Distinct for each monitor name."""
        return str(self._generate_state_key(name=self.name))

    # When to look

    def setup(self, trainer: facts.Trainer, pl_module: facts.LightningModule, stage: str) -> None:
        """Start afresh when the epochs do; a checkpoint's state is loaded after this."""
        self._fitting = stage == "fit"
        with self._messages.harmless("setting up"):
            if self._fitting and (trainer.current_epoch == 0 or trainer.current_epoch < self._schedule.last_epoch):
                self._forget()

    def on_fit_start(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> None:
        """Find the target layer and say what was chosen. A wrong argument ends here, before anything is lost."""
        self._off = True
        names: list[str] = []
        with self._messages.harmless("starting"):
            names = facts.names_of(trainer, CAMMonitor)
        arguments.check_own_name(self.name, names)
        unsupported: str | None = "its strategy cannot be told"
        with self._messages.harmless("starting"):
            self._messages.active = bool(trainer.is_global_zero)
            unsupported = facts.unsupported_strategy(trainer)
        for why in (unsupported, self._observer.lost):
            if why is not None:
                self._messages.off(why)
                return
        self._refuse_other_probes(trainer)
        with self._messages.harmless("starting"):
            if not self._schedule.same_start(peers_of(trainer)):
                self._forget()
                self._messages.warn_once(opening.NOT_THE_SAME_START)
        layer = self._find_layer(trainer, pl_module)
        if layer is None:
            return
        self._off = False
        if self._observer.gives_probabilities:
            self._messages.warn_once(opening.GIVES_PROBABILITIES)
        with self._messages.harmless("starting"):
            weights = facts.weights_seen(trainer, self)
            reason = reason_for(self._observer.recipe, layer, self._observer.grid or layer.grid)
            told_layer = replace(layer, reason=reason)
            self._reporter.open(trainer.loggers, method=self._observer.method, layer=told_layer, weights=weights)
            self._opening = opening.opening_words(
                self._observer,
                layer,
                name=self.name,
                weights=weights,
                every=self._schedule.every_n_epochs,
                drawn=len(self._reporter.logged),
            )
        # What fails here fails in the first look as well, and is told then; only a comparison is lost.
        with suppress(Exception):
            if facts.has_initial_weights(trainer):
                self._looker.remember_initial(trainer, pl_module)

    def on_train_start(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> None:
        """Say what was chosen and what can be found; only now are the epochs of a resumed run known."""
        if self._off:
            return
        self._refuse_other_probes(trainer)
        with self._messages.harmless("starting"):
            self._overhead.begin(epoch=trainer.current_epoch)
            self._keep_record(trainer)
            looks_left = facts.looks_left(trainer, self._schedule.every_n_epochs)
            if self.verbose:
                effect = self._observer.smallest_effect(looks_left)
                self._messages.say(" ".join(filter(None, [self._opening, self._keeper.words, effect])))
            hopeless = self._observer.out_of_reach(looks_left)
            if hopeless is not None:
                self._messages.warn_once(f"camdebug: {hopeless}")

    def on_validation_epoch_end(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> None:
        """Look after the last validation of an epoch, in time for monitors. The very first look takes the first one."""
        due, last = False, True
        with self._messages.harmless("planning a look"):
            if not facts.is_fitting(trainer):
                return
            self._messages.epoch = trainer.current_epoch
            last = facts.is_last_validation(trainer)
            due = self._schedule.is_due(trainer) and (last or not self._metrics.measured)
        looked = self._agreed(trainer, due=due)
        if looked:
            self._look(trainer, pl_module, in_train_hook=False)
        self._metrics.log(trainer, pl_module, looked=looked, closing=last)

    def on_train_epoch_end(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> None:
        """Look here in epochs without a validation. All ranks come here, so here they decide whether to stop."""
        due = False
        with self._messages.harmless("planning a look"):
            self._messages.epoch = trainer.current_epoch
            due = self._schedule.is_due(trainer)
        looked = self._agreed(trainer, due=due)
        if looked:
            self._look(trainer, pl_module, in_train_hook=True)
        self._metrics.log(trainer, pl_module, looked=looked, closing=True, in_train_hook=True)
        self._slow_down(trainer)
        self._stopper.decide(trainer)

    def on_fit_end(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> None:
        """Bring the film strips up to date and say what was lost, if anything."""
        self._reporter.finish()
        self._keeper.close("completed")
        self._messages.closing_words()

    def on_exception(self, trainer: facts.Trainer, pl_module: facts.LightningModule, exception: BaseException) -> None:
        """Say what was lost when a run ends early: no other hook is called then."""
        asked_to = isinstance(exception, (KeyboardInterrupt, SystemExit))  # which Lightning's own SIGTERM is, too
        self._keeper.close("interrupted" if asked_to else "failed")
        self._messages.closing_words()
