"""The detection benchmark's own parts: its pictures, its arithmetic, and that a study can be stopped and resumed."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency
from sklearn.metrics import roc_auc_score

_ROOT = str(Path(__file__).parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from tests.benchmarks.detection import figure, ranking, report, variants, work  # noqa: E402
from tests.benchmarks.detection.cues import ABSENT, BACKGROUND_KINDS, INK, KINDS, ONE_CLASS_TAG, SIZE  # noqa: E402
from tests.benchmarks.detection.nets import GRIDS, NETS, build  # noqa: E402
from tests.benchmarks.detection.runs import RunConfig, background_alone, run, without_objects  # noqa: E402
from tests.benchmarks.detection.study import CLEAN, ONE_CLASS, PLANTED, SILENT, study  # noqa: E402
from tests.benchmarks.detection.units import at_last_unplanned, negatives, units, verdict_score  # noqa: E402
from tests.benchmarks.detection.worlds import BOX_SIDES, World  # noqa: E402


@pytest.fixture(autouse=True)
def _threads():
    """Runs set torch to one thread; the other tests keep theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _world(kind="corner_tag", classes=5, side=13, seed=3):
    return World(kind, classes, side, seed)


def _config(**changes):
    config = RunConfig(PLANTED, "corner_tag", 1.0, 17, 3, "cnn_gap", 7, epochs=2, per_class=20, seed=5)
    return replace(config, **changes)


class TestWorlds:
    @pytest.mark.parametrize("side", BOX_SIDES)
    @pytest.mark.parametrize("kind", BACKGROUND_KINDS)
    def test_copies_with_another_cue_differ_outside_the_box_only(self, kind, side):
        world = _world(kind, side=side)
        scenes = world.draw(12, held_out=True)
        differs = (world.paint(scenes, scenes.label) != world.paint(scenes, world.other_cues(scenes))).any(1).numpy()
        assert not (differs & scenes.inside).any()
        changed = differs.any((1, 2))
        if kind == ONE_CLASS_TAG:  # between two other classes nothing changes, for neither has a tag
            assert changed[scenes.label == world.tagged_class].all()
        else:
            assert changed.all()

    def test_tags_are_whole_whatever_the_box(self):
        for kind in ("corner_tag", "random_tag"):
            world = _world(kind, side=22)
            scenes = world.draw(30, held_out=True)
            tag, none = (world.paint(scenes, np.full(len(scenes), cue)) for cue in (0, ABSENT))
            assert (tag != none).any(1).sum((1, 2)).min() >= 23  # of 25 pixels; clipped noise may hide one

    def test_ink_is_the_only_cue_inside_the_box(self):
        world = _world(INK)
        scenes = world.draw(12, held_out=True)
        differs = (world.paint(scenes, scenes.label) != world.paint(scenes, world.other_cues(scenes))).any(1).numpy()
        assert differs.any((1, 2)).all()
        assert not (differs & ~scenes.inside).any()

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_digit_is_inside_its_box(self, kind):
        world = _world(kind, classes=10, side=22)
        scenes = world.draw(20, held_out=False)
        other_digits = replace(scenes, digit=scenes.digit[::-1].copy())
        cues = scenes.label
        differs = (world.paint(scenes, cues) != world.paint(other_digits, cues)).any(1).numpy()
        assert differs.any((1, 2)).mean() > 0.95
        assert not (differs & ~scenes.inside).any()
        assert scenes.boxes.min() >= 0
        assert scenes.boxes.max() <= SIZE

    def test_boxes_have_the_sizes_they_are_called_after(self):
        for side, share in BOX_SIDES.items():
            boxes = _world(side=side).draw(40, held_out=False).boxes
            area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / SIZE**2
            assert float(area.mean()) == pytest.approx(share, abs=0.03)

    def test_without_strength_cues_are_independent_of_the_class(self):
        world = _world(classes=5)
        scenes = world.draw(1000, held_out=False)
        table = _cue_table(scenes.label, world.own_cues(scenes, 0.0))
        assert chi2_contingency(table).pvalue > 0.01
        assert table.min() > 150

    @pytest.mark.parametrize(("strength", "share"), [(0.6, 0.68), (0.95, 0.96), (1.0, 1.0)])
    def test_strength_is_the_share_of_cues_that_are_not_random(self, strength, share):
        world = _world(classes=5)
        scenes = world.draw(1000, held_out=False)
        assert np.mean(world.own_cues(scenes, strength) == scenes.label) == pytest.approx(share, abs=0.02)

    def test_other_cues_are_of_every_other_class_and_never_the_own(self):
        world = _world(classes=5)
        scenes = world.draw(200, held_out=True)
        table = _cue_table(scenes.label, world.other_cues(scenes))
        assert np.diag(table).sum() == 0
        assert (table + 100 * np.eye(5)).min() > 25

    def test_places_and_photographs_are_independent_of_the_class(self):
        scenes = _world("random_tag", classes=2, side=22).draw(3000, held_out=False)
        first = scenes.label == 0
        for drawn in (scenes.left, scenes.top, scenes.cue_left, scenes.photo, scenes.u, scenes.side):
            error = drawn.std() * (2 / 3000) ** 0.5
            assert abs(drawn[first].mean() - drawn[~first].mean()) < 4 * error

    def test_the_same_seed_gives_the_same_pictures(self):
        def painted(seed, again=0):
            world = _world("texture", seed=seed)
            scenes = world.draw(4, held_out=False, again=again)
            return world.paint(scenes, world.own_cues(scenes, 0.8))

        assert torch.equal(painted(3), painted(3))
        assert not torch.equal(painted(3), painted(4))
        assert not torch.equal(painted(3), painted(3, again=1))

    def test_held_out_digits_are_never_in_training(self):
        world = _world(classes=10)
        training, held_out = (set(world.draw(200, held_out=h).digit.tolist()) for h in (False, True))
        assert training.isdisjoint(held_out)
        assert len(training) + len(held_out) == 1797

    def test_probes_are_of_different_digits(self):
        digits = _world(classes=10).draw(40, held_out=True, again=1).digit
        assert len(set(digits.tolist())) == 400

    def test_absent_cues_leave_the_plain_background(self):
        world = _world("corner_tag")
        scenes = world.draw(4, held_out=True)
        plain = world.paint(scenes, np.full(len(scenes), ABSENT))
        assert torch.equal(plain, replace(world, kind="corner_tag").paint(scenes, np.full(len(scenes), ABSENT)))
        tag = (world.paint(scenes, scenes.label) != plain).any(1)
        assert tag[:, :22, :].sum() == 0
        assert tag[:, 22:27, 22:27].float().mean() > 0.95

    def test_there_is_no_such_world(self):
        with pytest.raises(ValueError, match="no such world"):
            World("corner tag", 5, 13, 0)


def _cue_table(labels, cues):
    return np.histogram2d(labels, cues, bins=(5, 5), range=((0, 5), (0, 5)))[0]


class TestNets:
    @pytest.mark.parametrize("grid", GRIDS)
    @pytest.mark.parametrize("name", NETS)
    def test_the_package_explains_the_grid_that_was_asked_for(self, name, grid):
        from camdebug.cam.lending.borrow import borrowed
        from camdebug.cam.model.subject import ModelUse
        from camdebug.cam.target.search import find_target_layer

        net = build(name, grid, 5)
        with borrowed(net):
            layer = find_target_layer(ModelUse().on(net), torch.randn(1, 3, SIZE, SIZE))
        assert layer.grid == (grid, grid)
        assert (layer.layout.kind == "NHWC") == (name == "convnext")
        assert net.eval()(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 5)


class TestBackgroundAlone:
    def test_boxes_are_filled_with_what_surrounds_them(self):
        from camdebug import ProbeSet

        images = torch.zeros(2, 3, SIZE, SIZE)
        images[:, :, 10:20, 10:20] = 1.0
        images[1] += torch.tensor([0.1, 0.2, 0.3])[:, None, None]
        probes = ProbeSet(images, [0, 1], torch.tensor([[10.0, 10, 20, 20]] * 2))
        filled = without_objects(probes)
        assert filled[0].abs().max() == 0
        torch.testing.assert_close(filled[1], torch.tensor([0.1, 0.2, 0.3])[:, None, None].expand(3, SIZE, SIZE))

    def test_what_backgrounds_earn_is_told_against_all_backgrounds(self):
        from camdebug import ProbeSet

        class Brightness(torch.nn.Module):
            """Class 1 for bright pictures: probability .9, else .1."""

            def forward(self, x):
                bright = x[:, 0, 0, 0] > 0.5
                return torch.stack([torch.zeros(len(x)), torch.where(bright, 1.0, -1.0) * math.log(9)], 1)

        images = torch.zeros(8, 3, SIZE, SIZE)
        images[4:] = 1.0
        probes = ProbeSet(images, [0] * 4 + [1] * 4, torch.tensor([[10.0, 10, 20, 20]] * 8))
        found = background_alone(Brightness(), probes)
        assert found["alone_value"] == pytest.approx([0.4, 0.4])
        # Variance .16, of the mean of 4 of 8 without replacement: .16 * (8 - 4) / (4 * 7).
        assert found["alone_z"] == pytest.approx([0.4 / math.sqrt(0.16 / 7)] * 2, rel=1e-3)


class TestStudy:
    def test_the_full_study_has_the_runs_that_the_targets_ask_for(self):
        configs = study("full")
        parts = {p: [c for c in configs if c.part == p] for p in (CLEAN, PLANTED, ONE_CLASS, SILENT)}
        assert {p: len(c) for p, c in parts.items()} == {CLEAN: 324, PLANTED: 288, ONE_CLASS: 72, SILENT: 48}
        assert all(c.epochs == 40 and c.strength == 0 for c in parts[CLEAN])
        assert all(c.per_class == 20 and c.kind == ONE_CLASS_TAG for c in parts[ONE_CLASS])
        assert len({c.name for c in configs}) == len({c.seed for c in configs}) == len(configs)
        for part in (CLEAN, PLANTED):
            for factor, levels in {"side": BOX_SIDES, "net": NETS, "grid": GRIDS}.items():
                counts = {v: sum(getattr(c, factor) == v for c in parts[part]) for v in levels}
                assert len(set(counts.values())) == 1

    def test_any_beginning_is_balanced_over_the_parts(self):
        beginning = study("full")[:122]  # a sixth
        assert [sum(c.part == p for c in beginning) for p in (CLEAN, PLANTED, ONE_CLASS, SILENT)] == [54, 48, 12, 8]

    def test_the_small_study_is_small(self):
        configs = study("small")
        assert 20 <= len(configs) <= 30
        assert {c.part for c in configs} == {CLEAN, PLANTED, ONE_CLASS, SILENT}


class TestWork:
    def _runner(self, calls):
        def runner(config):
            calls.append(config.name)
            if config.seed == 99:
                raise RuntimeError("lost")
            return {"config": config.__dict__, "epochs": [{}] * config.epochs}

        return runner

    def test_finished_runs_are_not_run_again(self, tmp_path):
        calls: list[str] = []
        configs = [_config(seed=s) for s in (1, 2)]
        assert work.run_all(configs[:1], tmp_path, jobs=1, runner=self._runner(calls)) == []
        assert work.run_all(configs, tmp_path, jobs=1, runner=self._runner(calls)) == []
        assert calls == [c.name for c in configs]
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{c.name}.json" for c in configs)

    def test_a_broken_or_foreign_file_is_not_a_finished_run(self, tmp_path):
        config = _config()
        work.write(tmp_path, config, {"config": config.__dict__, "epochs": [{}] * config.epochs})
        path = work.path_of(tmp_path, config)
        assert work.read(tmp_path, config) is not None
        whole = path.read_text()
        path.write_text(whole[:-10])
        assert work.read(tmp_path, config) is None
        path.write_text(json.dumps({"config": config.__dict__, "epochs": [{}]}))
        assert work.read(tmp_path, config) is None
        path.write_text(json.dumps({"config": _config(seed=6).__dict__, "epochs": [{}, {}]}))
        assert work.read(tmp_path, config) is None
        assert work.read(tmp_path, _config(seed=7)) is None

    def test_a_failed_run_is_named_and_tried_again(self, tmp_path, capsys):
        calls: list[str] = []
        configs = [_config(seed=99), _config(seed=1)]
        for _ in range(2):
            assert work.run_all(configs, tmp_path, jobs=1, runner=self._runner(calls)) == [configs[0].name]
        assert calls == [configs[0].name, configs[1].name, configs[0].name]
        assert "RuntimeError: lost" in capsys.readouterr().out

    def test_runs_of_other_code_are_told_of_and_kept(self, tmp_path, capsys):
        config, calls = _config(), []
        work.write(tmp_path, config, {"config": config.__dict__, "epochs": [{}] * config.epochs, "code": "older"})
        work.run_all([config, _config(seed=6)], tmp_path, jobs=1, runner=self._runner(calls))
        assert "kept: 1 with older" in capsys.readouterr().out
        assert work.read(tmp_path, config)["code"] == "older"
        assert len(calls) == 1
        work.run_all([_config(seed=6)], tmp_path, jobs=1, runner=self._runner(calls))
        assert "older" not in capsys.readouterr().out


def _row(config, gaps, scores, levels, *, p=0.5, deciding=None):
    """A run of which every class has the same history: ``gaps``, ``levels`` over epochs, ``scores`` of classes.

    Looks that decide are the ``deciding`` ones; by default the last.
    """
    deciding = [len(gaps) - 1] if deciding is None else deciding
    count = config.classes
    epochs = [
        {
            "epoch": e,
            "look_seconds": 0.3,
            "true_gap": None if gap is None else [gap] * count,
            "outside_mass": [0.5] * count,
            "contrast_value": list(scores),
            "contrast_standard_error": [1.0] * count,
            "contrast_p_value": [p] * count,
            "swap_gap": list(scores),
            "swap_margin_gap": list(scores),
            "swap_margin_standard_error": [1.0] * count,
            "swap_p_value": [p] * count,
            "swap_decides": [e in deciding] * count,
            "level": [level] * count,
        }
        for e, (gap, level) in enumerate(zip(gaps, levels, strict=True))
    ]
    return {
        "config": {**config.__dict__, "epochs": len(epochs)},
        "epochs": epochs,
        "passes_per_probe": 3.0,
        "forward_seconds": 0.1,
        "seconds": 1.0,
    }


def _clean_rows(scores, levels=("no evidence",)):
    config = _config(part=CLEAN, strength=0.0)
    return [_row(replace(config, seed=i), [0.0] * len(levels), [s] * 3, levels) for i, s in enumerate(scores)]


class TestReport:
    def test_auroc_is_of_units_by_their_true_gap(self):
        large = _row(_config(), [0.5], [3.0, 3.0, 0.5], ["no evidence"])
        small = _row(_config(seed=6), [0.1], [0.5, 0.5, 0.5], ["no evidence"])
        none = _row(_config(seed=7), [0.01], [9.0, 9.0, 9.0], ["no evidence"])
        found = report.summary([large, small, none, *_clean_rows([0.0, 1.0])])
        assert found["auroc_large_gap"]["value"] == pytest.approx((1 + 1 + 0.5) / 3, abs=1e-4)
        assert found["auroc_large_gap"]["count"] == 3
        assert found["auroc_small_gap"]["value"] == 0.5
        assert found["auroc"]["outside mass"]["large"]["value"] == 0.5  # all alike
        assert found["made_with"]["units"] == {"large_gap": 3, "small_gap": 3, "clean": 6}

    def test_weighted_auroc_is_that_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        values, truth, weights = rng.integers(8, size=200), rng.integers(2, size=200), rng.integers(4, size=200)
        assert ranking.weighted_auroc(values, truth)(weights) == pytest.approx(
            roc_auc_score(truth, values, sample_weight=weights)
        )
        assert math.isnan(ranking.weighted_auroc(values, truth)(weights * truth))

    def test_what_was_not_measured_ranks_lowest(self):
        row = _row(_config(), [0.5], [2.0, None, 2.0], ["no evidence"])
        found = report.summary([row, *_clean_rows([-5.0])])
        assert found["auroc_large_gap"]["value"] == pytest.approx(2 / 3, abs=1e-4)

    def test_a_pair_is_one_unit_with_the_mean_gap(self):
        row = _row(_config(classes=2), [0.5], [1.0, 1.0], ["no evidence"])
        row["epochs"][0]["true_gap"] = [0.1, 0.5]
        (unit,) = units([row])
        assert unit.gap == pytest.approx(0.3)
        assert unit.last["contrast_value"] == 1.0

    def test_false_alarms_are_counted_by_run_over_all_epochs(self):
        loud = _clean_rows([0.0], ("no evidence", "confirmed", "no evidence"))
        wary = [{**r, "config": {**r["config"], "seed": 50}} for r in _clean_rows([0.0], ("watch", "suspect", "watch"))]
        found = report.summary([*loud, *wary, *_clean_rows([0.0, 0.0], ("no evidence",) * 3)])
        rates = {level: found["false_alarms"][level]["all"]["value"] for level in ("watch", "suspect", "confirmed")}
        assert rates == {"watch": 0.5, "suspect": 0.5, "confirmed": 0.25}
        assert found["false_alarm_rate"] == {"value": 0.25, "interval": [0.0063, 0.8059], "count": 4}
        assert found["clean_runs"]["value"] == 4

    def test_latency_is_from_the_first_large_gap_to_confirmed(self):
        def unit(gaps, levels):
            return units([_row(_config(), gaps, [1.0] * 3, levels)])[0]

        quiet, sure = "no evidence", "confirmed"
        assert unit([0.1, 0.3, 0.5, 0.5], [quiet, quiet, quiet, sure]).latency == 2
        assert unit([0.1, 0.3, 0.5], [sure, quiet, quiet]).latency == 0
        assert unit([0.1, 0.3, 0.5], [quiet] * 3).latency == math.inf
        assert unit([0.1, 0.1, 0.1], [quiet] * 3).latency is None
        assert unit([None, 0.3, 0.3], [quiet, sure, sure]).latency == 0

    def test_one_class_power_is_of_the_tagged_class(self):
        config = _config(part=ONE_CLASS, kind=ONE_CLASS_TAG, seed=4)  # 4 % 3: class 1
        found_it = _row(config, [0.5, 0.5], [1.0] * 3, ["no evidence", "no evidence"])
        found_it["epochs"][0]["level"] = ["no evidence", "confirmed", "no evidence"]
        missed = _row(replace(config, seed=7), [0.5, 0.5], [1.0] * 3, ["no evidence", "no evidence"])
        missed["epochs"][0]["level"] = ["confirmed", "no evidence", "no evidence"]
        elsewhere = _row(_config(kind=ONE_CLASS_TAG, seed=10), [0.5], [1.0] * 3, ["no evidence"])  # in another part
        forgot = _row(replace(config, seed=13), [0.5, 0.1], [1.0] * 3, ["no evidence", "no evidence"])
        never = _row(replace(config, seed=16), [0.1, 0.0], [1.0] * 3, ["no evidence", "no evidence"])
        found = report.summary([found_it, missed, elsewhere, forgot, never])
        powers = [found[f"one_class_tag_power{of}"] for of in ("", "_by_peak", "_all")]
        assert [(p["value"], p["count"]) for p in powers] == [(0.5, 2), (0.3333, 3), (0.25, 4)]

    def test_thresholds_are_chosen_without_the_size_they_are_tried_on(self):
        rows = []
        for side, low in ((13, 0.0), (17, 0.0), (22, 4.0)):
            rows.append(_row(_config(side=side, seed=side), [0.5], [low + 2.0] * 3, ["no evidence"]))
            rows += [{**r, "config": {**r["config"], "side": side}} for r in _clean_rows([low])]
        for row in rows:  # the swap separates all; the screen has no part in it
            row["epochs"][0]["swap_margin_gap"] = [9.0 if row["config"]["part"] == PLANTED else -9.0] * 3
        figures = report.summary(rows)
        found = figures["screen_leave_one_out"]["side"]
        assert found["22"]["value"] == 0.5  # its clean runs are above what separates the others
        assert found["13"]["value"] == 1.0
        assert found["all"]["value"] == pytest.approx((1.0 + 2 / 3) / 2, abs=1e-4)
        assert figures["leave_one_size_out_accuracy"] == found["all"]

    def test_the_screen_is_tried_on_unplanned_looks_too(self):
        rows = []
        for side in (13, 17):
            planted = _row(_config(side=side, seed=side), [0.1, 0.5], [0.0] * 3, ["no evidence"] * 2)
            planted["epochs"][0]["contrast_value"] = [3.0] * 3
            clean = _clean_rows([0.0], ("no evidence",) * 2)
            rows += [planted, *({**r, "config": {**r["config"], "side": side}} for r in clean)]
        found = report.summary(rows)
        assert found["leave_one_size_out_accuracy"]["value"] == 0.5
        assert found["screen_leave_one_out_unplanned"]["side"]["all"]["value"] == 1.0
        assert found["screen_auroc_without_unplanned"]["side"] == {"13": 1.0, "17": 1.0}
        assert {u.last["contrast_value"] for u in at_last_unplanned(units(rows[:1]))} == {3.0}
        assert {u.gap for u in at_last_unplanned(units(rows[:1]))} == {0.5}
        assert at_last_unplanned(units(_clean_rows([1.0]))) == []  # its only look decides

    def test_silent_parts_are_counted_apart(self):
        inside = _row(_config(part=SILENT, kind=INK), [0.9], [0.0] * 3, ["no evidence"])
        absent = _row(_config(part=SILENT, cue_in_probes=False), [0.9], [0.0] * 3, ["watch"])
        found = report.summary([inside, absent])
        for epoch in absent["epochs"]:
            epoch["swap_decides"] = [False] * 3
        more = report.summary([inside, absent])["silent"]
        assert [more[n]["runs_with_a_deciding_look"] for n in ("cue_in_box", "probes_without_cue")] == [1, 0]
        assert more["probes_without_cue"]["runs"] == 1
        assert more["probes_without_cue"]["of_runs_with_a_deciding_look"]["last_answers"] == {}
        assert found["silent"]["cue_in_box"]["last_answers"] == {"no evidence": 3}
        assert found["silent"]["probes_without_cue"]["runs_watch"]["value"] == 1.0
        assert found["made_with"]["units"]["large_gap"] == 0

    def test_p_values_of_clean_runs(self):
        rows = _clean_rows([0.0] * 4)
        for row, p in zip(rows, (0.04, 0.2, 0.6, 0.8), strict=True):
            row["epochs"][0]["contrast_p_value"] = [p] * 3
        found = report.summary(rows)["p_values_of_clean_runs"]["contrast"]
        assert found["mean"] == pytest.approx(0.41)
        assert found["share_at_or_below_0.05"]["value"] == 0.25
        assert found["share_at_or_below_0.5"]["value"] == 0.5

    def test_p_values_of_planned_and_unplanned_looks_are_counted_apart(self):
        (row,) = _clean_rows([0.0], ("no evidence",) * 5)
        for epoch, p in zip(row["epochs"], (0.9, 0.04, 0.7, 0.2, 0.004), strict=True):
            epoch["contrast_p_value"] = epoch["swap_p_value"] = [p, p, None]
            epoch["swap_decides"] = [epoch["epoch"] in (1, 4)] * 3
        never = _row(_config(part=CLEAN, strength=0.0, seed=1, classes=2), [0.0], [0.0] * 2, ["watch"], deciding=[])
        found = report.summary([row, never])["p_values_of_clean_runs"]
        counts = {looks: found["swap"][looks]["share_at_or_below_0.05"] for looks in ("planned", "unplanned")}
        assert [(f["value"], f["count"]) for f in counts.values()] == [(1.0, 4), (0.0, 7)]
        assert (found["swap"]["mean"], found["swap"]["runs"]) == (pytest.approx((3.688 + 0.5) / 11, abs=1e-4), 2)
        one = {name: found[name]["one_a_run_and_class"] for name in ("contrast", "swap")}
        assert (one["swap"]["mean"], one["swap"]["runs"]) == (0.04, 1)  # the first planned look; the pair had none
        assert (one["contrast"]["mean"], one["contrast"]["runs"]) == (pytest.approx((0.2 * 2 + 0.5) / 3, abs=1e-4), 2)

    def test_units_are_ranked_by_the_products_own_score(self):
        from camdebug.records import BackgroundContrast, BackgroundSwap
        from camdebug.verdict.score import reliance

        row = _row(_config(), [0.5], [1.0] * 3, ["no evidence"])
        numbers = {"swap_margin_gap": 1.7, "swap_margin_standard_error": 0.2}
        numbers |= {"contrast_value": -0.4, "contrast_standard_error": 0.05}
        row["epochs"][0] |= {name: [value] * 3 for name, value in numbers.items()}
        none = torch.empty(0)
        contrast = BackgroundContrast((0,), (9,), -0.4, 0.05, 0.9, none, none, none)
        swap = BackgroundSwap((0,), (9,), 0.1, 0.1, 1.7, 0.2, 0.01, (0.1, 0.1), (0.1, 0.1), none, none, True)
        scores = [verdict_score(unit.last) for unit in units([row])]
        assert scores == pytest.approx([reliance(contrast, swap)] * 3)
        assert scores[0] == pytest.approx((1.7 / 0.5 - 0.4 / 0.35) / 2)

    def test_tiny_differences_are_no_strong_ones_however_sure(self):
        large = _row(_config(), [0.5], [2.0] * 3, ["no evidence"])
        (clean,) = _clean_rows([0.1])
        for name in ("contrast_standard_error", "swap_margin_standard_error"):
            clean["epochs"][0][name] = [0.001] * 3  # a hundred standard errors
        assert report.summary([large, clean])["auroc_large_gap"]["value"] == 1.0

    def test_only_runs_that_are_clean_by_construction_are_negatives(self):
        others = [
            _row(_config(part=SILENT, kind=INK, seed=30), [0.9], [9.0] * 3, ["confirmed"]),
            _row(_config(part=ONE_CLASS, kind=ONE_CLASS_TAG, seed=31), [0.0], [9.0] * 3, ["confirmed"]),
            _row(_config(seed=32), [0.0], [9.0] * 3, ["confirmed"]),
        ]
        large = _row(_config(), [0.5], [3.0] * 3, ["no evidence"])
        rows = [*others, large, *_clean_rows([0.0])]
        assert {u.config["part"] for u in negatives(units(rows))} == {CLEAN}
        found = report.summary(rows)
        assert found["auroc_large_gap"]["value"] == 1.0
        assert found["false_alarm_rate"]["value"] == 0.0
        assert found["clean_runs"]["value"] == 1

    def test_the_gap_is_that_after_the_last_epoch(self):
        faded = _row(_config(), [0.5, 0.1], [1.0] * 3, ["no evidence"] * 2)
        assert [u.gap for u in units([faded])] == [0.1] * 3
        assert [u.peak_gap for u in units([faded])] == [0.5] * 3
        found = report.summary([faded, *_clean_rows([0.0])])
        assert found["made_with"]["units"] == {"large_gap": 0, "small_gap": 3, "clean": 3}

    def test_worlds_that_choices_were_made_on_are_left_out_beside_the_headlines(self):
        seen = variants.seeds_of_choices()
        kept = json.loads((Path(variants.__file__).parent.parent / "results/detection_variants.json").read_text())
        assert kept["runs"][CLEAN] == kept["runs"][PLANTED] == variants.CHOSEN_ON
        assert len(seen) == 2 * variants.CHOSEN_ON  # placed runs share the seeds of clean ones
        used = {
            part: min(c.seed for c in study("full") if c.part == part and c.seed in seen) for part in (CLEAN, PLANTED)
        }
        new = {part: min(c.seed for c in study("full") if c.part == part and c.seed not in seen) for part in used}
        clean = _config(part=CLEAN, strength=0.0)
        rows = [
            _row(_config(seed=used[PLANTED]), [0.5], [0.0] * 3, ["no evidence"]),
            _row(_config(seed=new[PLANTED]), [0.5], [3.0] * 3, ["no evidence"]),
            _row(replace(clean, seed=used[CLEAN]), [0.0], [9.0] * 3, ["no evidence"]),
            _row(replace(clean, seed=new[CLEAN]), [0.0], [1.0] * 3, ["no evidence"]),
        ]
        found = report.summary(rows)
        assert found["auroc_large_gap"]["value"] == 0.25
        unseen = found["auroc_unseen_by_variants"]
        assert (unseen["large"]["value"], unseen["large"]["count"]) == (1.0, 3)
        assert (unseen["small"]["count"], unseen["clean_runs"]["value"]) == (0, 1)

    def test_what_was_never_confirmed_took_for_ever(self):
        late = _row(_config(), [0.5] * 3, [1.0] * 3, ["no evidence", "no evidence", "confirmed"])
        never = [_row(_config(seed=s), [0.5] * 3, [1.0] * 3, ["no evidence"] * 3) for s in (6, 7)]
        found = report.summary([late, never[0]])
        assert found["latency"] == {
            "quarter": 2.0,
            "median": None,
            "three_quarters": None,
            "nine_tenths": None,
            "never": 0.5,
        }
        found = report.summary([late, *never])
        assert found["median_latency"] == {"value": None, "interval": [2.0, None], "count": 9}
        json.dumps(found, allow_nan=False)
        assert report.summary([late])["median_latency"]["interval"] == [2.0, 2.0]

    def test_people_read_what_figures_do_not_tell(self, capsys):
        found = report.summary([_row(_config(), [0.5], [1.0] * 3, ["no evidence"])])
        report.show(found)
        shown = capsys.readouterr().out
        assert shown.splitlines()[-1].startswith("What this does not tell you.")
        assert "never" in shown
        assert found["limits"].startswith("*What this does not tell you.*")
        assert set(found["notes"]) <= set(found)

    def test_nothing_at_all_gives_figures_too(self):
        found = report.summary([])
        assert found["auroc_large_gap"]["count"] == 0
        json.dumps(found, allow_nan=False)


def test_a_tiny_study_from_training_to_picture(tmp_path, capsys):
    configs = [_config(), _config(part=CLEAN, strength=0.0, classes=2)]
    assert work.run_all(configs, tmp_path / "runs", jobs=1, runner=run) == []
    rows = [work.read(tmp_path / "runs", c) for c in configs]
    planted = rows[0]["epochs"][-1]
    assert len(planted["contrast_value"]) == len(planted["true_gap"]) == 3
    assert rows[0]["passes_per_probe"] >= 3  # the maps, and two composites a probe
    assert rows[1]["epochs"][0]["true_gap"] is None
    found = report.summary(rows)
    text = json.dumps(found, allow_nan=False)
    assert len(text) < 60_000
    for name in report.HEADLINES:
        value = [found[name]["value"], *found[name]["interval"], found[name]["count"]]
        assert all((v is None and name == "median_latency") or math.isfinite(v) for v in value)
    assert found["clean_runs"]["value"] == 1
    report.show(found)
    assert "auroc_large_gap" in capsys.readouterr().out
    figure.draw(found, units(rows), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000


class TestVariants:
    @pytest.fixture
    def subject(self):
        from camdebug.cam.lending.borrow import borrowed
        from camdebug.cam.model.subject import ModelUse
        from camdebug.cam.target.search import find_target_layer
        from camdebug.observe.backgrounds import Backgrounds
        from tests.benchmarks.detection.runs import _probes

        torch.manual_seed(0)
        net, probes = build("cnn_flatten", 7, 4).eval(), _probes(_config(classes=4, side=13))
        with borrowed(net):
            layer = find_target_layer(ModelUse().on(net), probes.images)
            yield variants.Subject(net, layer, probes, Backgrounds(probes, seed=5).panels(), 5)

    def test_the_product_is_measured_as_the_package_does(self, subject):
        from camdebug.background.evidence import gather_evidence
        from camdebug.cam.lens import Lens
        from camdebug.cam.model.subject import ModelUse

        net, layer, probes, panels = subject.net, subject.layer, subject.probes, subject.panels
        cover = probes.coverage(layer.grid)
        theirs = gather_evidence(Lens(ModelUse().on(net), (layer,), 64), probes, panels, cover)
        arms = torch.stack([theirs.outside.sum((2, 3)), theirs.margins, theirs.probabilities])
        torch.testing.assert_close(variants.variants(subject)[variants.PRODUCT][1], arms[..., 0] - arms[..., 1])

    def test_objects_of_third_classes_lend_nothing_to_the_class_under_test(self, subject):
        panels, others = subject.panels, variants.before_other_classes(subject)
        labels = subject.probes.labels
        shown, tested, other = (labels[p] for p in (others.recipients, panels.same, panels.other))
        assert ((shown != tested) & (shown != other)).all()
        for k in range(4):
            assert not set(others.recipients[tested == k].tolist()) & set(panels.other[tested == k].tolist())
        pairs = torch.stack([others.same, others.recipients], 1)
        assert len(torch.unique(pairs, dim=0)) == len(pairs)

    def test_boxes_depend_on_the_class_and_cues_do_not(self):
        scenes = variants.PlacedByClass("random_tag", 4, 22, 3).draw(500, held_out=False)
        assert scenes.boxes.min() >= 0
        assert scenes.boxes.max() <= SIZE
        for k in range(4):
            mine = scenes.label == k
            assert np.ptp(scenes.left[mine]) <= 1
            assert np.ptp(scenes.side[mine]) == 0
            error = scenes.cue_left.std() / 500**0.5
            assert abs(scenes.cue_left[mine].mean() - scenes.cue_left.mean()) < 4 * error

    def test_from_training_to_figures(self):
        config = _config(side=13)
        clean = replace(config, part=CLEAN, strength=0.0)
        placed = variants.PlacedConfig(**{**clean.__dict__, "part": variants.PLACED})
        found = variants.summary([variants.run(c) for c in (config, clean, placed)])
        assert list(found["variants"]) == list(variants.VARIANTS)
        assert found["variants"][variants.PRODUCT]["large"]["gain"]["value"] == 0
        assert len(json.dumps(found, allow_nan=False)) < 20_000
