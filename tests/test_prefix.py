"""Batches that enter the net behind its frozen stages: a run says the same, and survives whatever happens to files."""

import signal
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from digit_runs import BATCHES, EPOCHS, SCHEDULES, run, words
from records import alike, record
from transferlab import cli
from transferlab.cache import columns
from transferlab.data.images import Images
from transferlab.inputs import arrays
from transferlab.module import TransferModule
from transferlab.prefix import activations
from transferlab.prefix.folding import Folded
from transferlab.values import Entered


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGINT)  # Lightning ignores Ctrl-C once it has come
    yield tmp_path
    signal.signal(signal.SIGINT, handler)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "average"), [*((one, "null") for one in SCHEDULES), ("chain_thaw", "ema"), ("lp_ft", "ema")]
)
def test_with_validation_selection_and_averages_a_run_says_the_same(strategy, average):
    more = [] if average == "null" else ["+strategy/averaging@strategy.averaging=ema"]
    plain = run(strategy, "cache=off", *more, study="off")
    cached = run(strategy, "cache=on", *more, study="on")
    assert plain["cost"]["cache_hits"] == 0
    assert strategy == "autofreeze" or cached["cost"]["cache_hits"] > 0
    alike(cached, plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "stop"),
    [("linear_probe", 1), *((one, 2 * BATCHES + 1) for one in ("gradual_unfreezing", "chain_thaw", "kd"))],
)
def test_an_interrupted_run_goes_on_with_the_cache_bit_for_bit(strategy, stop, monkeypatch):
    whole = run(strategy, "cache=on", study="whole")
    step = TransferModule.training_step

    def stopping(module: TransferModule, batch: Any, batch_idx: int) -> Any:
        if module.global_step == stop:
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(TransferModule, "training_step", stopping)
        assert cli.main(words(strategy, "study=again", "cache=on")) == 130
    alike(run(strategy, "cache=on", study="again"), whole, exactly=True)


def test_with_as_many_views_as_turns_an_augmented_run_says_the_same():
    whole = run("linear_probe", "augmentation=weak", "cache=off", study="whole")
    cached = run("linear_probe", "augmentation=weak", "cache=on", f"cache.views={EPOCHS}", study="on")
    assert cached["cost"]["cache_hits"] > 0
    assert cached["run_id"] != whole["run_id"]
    alike(cached, whole)


def test_fewer_views_come_back_in_later_turns_with_the_cache_and_without():
    whole = run("linear_probe", "augmentation=weak", "cache=off", study="whole")
    plain = run("linear_probe", "augmentation=weak", "cache=off", "cache.views=2", study="off")
    cached = run("linear_probe", "augmentation=weak", "cache=on", "cache.views=2", study="on")
    mine, its = ([row["train/task_loss"] for row in found["history"]] for found in (cached, whole))
    assert mine[:2] == pytest.approx(its[:2], rel=1e-4)
    assert mine[2:] != pytest.approx(its[2:], rel=1e-4)
    assert cached["run_id"] == plain["run_id"]
    alike(cached, plain)


def test_a_second_run_computes_no_frozen_stage_again(monkeypatch):
    first = run("linear_probe", "cache=on")
    monkeypatch.setattr(columns.Writer, "add", None)  # who would write would fail
    passed = []
    layer = torch.nn.functional.conv2d
    monkeypatch.setattr("torch.nn.modules.conv.F.conv2d", lambda x, *rest: (passed.append(len(x)), layer(x, *rest))[1])
    second = run("linear_probe", "cache=on", "diagnostics=none", study="again")
    assert set(passed) == {2}  # those by which a stage's operations are counted, and losses tried
    assert first["cost"]["cache_hits"] == second["cost"]["cache_hits"] > 0
    other = run("linear_probe", "cache=on", "diagnostics=none", "optimizer.lr=0.3", "batch_size=9", study="other")
    assert other["cost"]["cache_hits"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("+strategy/averaging@strategy.averaging=ema",)], ids=["last", "averaged"])
def test_the_oracle_enters_behind_what_is_frozen_and_sees_the_same(more):
    exact = ("oracle=true", "trainer.precision=64-true", *more)
    plain = run("gradual_unfreezing", "cache=off", *exact, study="off")
    without = run("gradual_unfreezing", "cache=on", *exact[1:], study="without")
    cached = run("gradual_unfreezing", "cache=on", *exact, study="on")
    alike(cached, plain)  # all metrics, the oracle's too
    # in the first epochs; in the last everything trains
    assert cached["cost"]["cache_hits"] > without["cost"]["cache_hits"] > 0


def test_an_oracle_whose_rows_do_not_fit_leaves_the_training_cached():
    small = ["cache=on", "cache.gigabytes=1e-5"]
    without = run("linear_probe", *small, study="without")
    beside = run("linear_probe", *small, "oracle=true", study="beside")
    assert beside["cost"]["cache_hits"] == without["cost"]["cache_hits"] > 0


def test_other_weights_find_nothing():
    run("linear_probe", "cache=on")
    before = {file.parent.name for file in Path("cache/activations").glob("*/used")}
    run("linear_probe", "cache=on", "source.pretrain.seed=1", study="other")
    assert {file.parent.name for file in Path("cache/activations").glob("*/used")} > before


def test_a_poisoned_file_is_computed_anew_and_said(capfd):
    plain = run("linear_probe", "cache=off", study="off")
    run("linear_probe", "cache=on", study="first")
    for file in Path("cache/activations").glob("*/*/0.rows"):
        file.write_bytes(bytes(file.stat().st_size))
    capfd.readouterr()
    alike(run("linear_probe", "cache=on", study="second"), plain)
    assert "is damaged: its activations are computed anew" in capfd.readouterr().err
    assert cli.main(["cache", "check"]) == 0


def test_a_full_disk_turns_the_cache_off_and_the_run_goes_on(monkeypatch, capfd):
    plain = run("gradual_unfreezing", "cache=off", study="off")

    def full(self: object, leaf: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(columns.Writer, "add", full)
    cached = run("gradual_unfreezing", "cache=on", study="on")
    assert cached["cost"]["cache_hits"] == 0
    alike(cached, plain)
    assert "cache off: the disk is full" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["augmentation=weak"], "training samples change from epoch to epoch; cache.views"),
        (["augmentation=mixup", "cache.views=2"], "labels are made of the inputs, or mixed with them"),
        (["cache.gigabytes=1e-6"], "more than cache.gigabytes"),
        (["strategy=side_tuning"], "the strategy's adapter reads"),
    ],
)
def test_what_cannot_be_kept_says_why_and_runs(more, reason, capfd):
    strategy = "linear_probe" if "strategy" not in more[0] else more.pop(0).partition("=")[2]
    found = run(strategy, "cache=on", *more)
    assert found["cost"]["cache_hits"] == 0
    assert reason in capfd.readouterr().err


def test_by_itself_it_leaves_a_run_alone_that_is_over_at_once(capfd):
    assert run("linear_probe")["cost"]["cache_hits"] == 0
    assert "do not pay for keeping" in capfd.readouterr().err


def test_bfloat16_is_another_run_and_the_rest_of_the_cache_is_not():
    ids = [
        run("linear_probe", *more, study=f"{n}")["run_id"]
        for n, more in enumerate(
            [["cache=off"], ["cache=on"], ["cache=on", "cache.gigabytes=3"], ["cache=on", "cache.dtype=bfloat16"]]
        )
    ]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_what_is_kept_was_computed_without_batchnorms(monkeypatch):
    found = []

    class Noted(Folded):
        def __init__(self, *given):
            super().__init__(*given)
            found.append(self.norms)

    monkeypatch.setattr(activations, "Folded", Noted)
    alike(run("linear_probe", "cache=on", study="on"), run("linear_probe", "cache=off", study="off"))
    assert found and min(found) > 0


def test_whatever_is_missing_passes_in_batches_of_one_size(monkeypatch):
    sizes = set()
    passed = activations.Activations._passed

    def noted(self, x, boundary):
        sizes.add(len(x.value if isinstance(x, Entered) else x))
        return passed(self, x, boundary)

    monkeypatch.setattr(activations.Activations, "_passed", noted)
    unfolded = Folded(nn.Identity(), dict)  # which passes no samples of its own
    monkeypatch.setattr(activations, "Folded", lambda *_: unfolded)
    run("gradual_unfreezing", "cache=on", "target.labels=3", study="fewer")
    after = run("gradual_unfreezing", "cache=on", study="after")
    alone = run("gradual_unfreezing", "cache=on", "paths.cache=another", study="alone")
    assert sizes == {activations._BATCH}
    alike(after, alone, exactly=True)


def test_where_the_head_alone_is_left_more_samples_make_a_batch(monkeypatch):
    run("linear_probe", "cache=off", study="before")  # its source is there from now on
    monkeypatch.setattr(arrays, "_NUMBERS", 1)  # an image at a time
    seen: dict[str, list[int]] = {"off": [], "on": []}
    validate = TransferModule.validation_step
    records = {}
    for use, sizes in seen.items():
        with monkeypatch.context() as patched:

            def noted(module, batch, index, sizes=sizes):
                sizes.append(len(batch[1]))
                return validate(module, batch, index)

            patched.setattr(TransferModule, "validation_step", noted)
            records[use] = run("linear_probe", f"cache={use}", study=use)
    assert max(seen["off"]) == 1 < max(seen["on"])
    assert sum(seen["off"]) == sum(seen["on"]) > 0
    alike(records["on"], records["off"])


@pytest.mark.parametrize("wrong", ["cache.use=maybe", "cache.dtype=float8", "cache.gigabytes=0"])
def test_a_wrong_setting_says_what_is_allowed(wrong, capsys):
    assert cli.main(words("linear_probe", "cache=on", wrong)) == 1
    assert wrong.split("=")[0] in capsys.readouterr().err


def test_the_command_lists_checks_and_clears(capsys):
    run("linear_probe", "cache=on")
    capsys.readouterr()
    assert cli.main(["cache"]) == 0
    assert "convnet" in capsys.readouterr().out
    assert cli.main(["cache", "check"]) == 0
    (poisoned, *_) = Path("cache/activations").glob("*/*/0.rows")
    poisoned.write_bytes(b"")
    assert cli.main(["cache", "check"]) == 1
    assert "damaged" in capsys.readouterr().out
    assert cli.main(["cache", "clear"]) == 0
    assert not list(Path("cache/activations").glob("*/*"))
    capsys.readouterr()
    assert cli.main(["cache"]) == 0
    assert "keeps no activations" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("average", ["swa", "ema"])
def test_activations_of_averaged_weights_never_get_the_key_of_those_in_training(average, monkeypatch):
    from transferlab.prefix.activations import Activations
    from transferlab.prefix.keys import hashed

    key = Activations.key

    def checked(self: Activations, boundary: int) -> str:
        found = key(self, boundary)
        for name in self.backbone.stages[:boundary]:
            assert self._keys._weights[name] == hashed(self.backbone, name)
        return found

    monkeypatch.setattr(Activations, "key", checked)
    # three blocks, frozen again for two epochs after they trained
    more = ["backbone.widths=[4,6,8]", "strategy.freezing.every=2", "trainer.max_epochs=9"]
    run("chain_thaw", "cache=on", *more, f"+strategy/averaging@strategy.averaging={average}")


@pytest.mark.slow
def test_a_run_that_goes_on_with_the_cache_where_it_had_none_tests_the_right_weights(monkeypatch):
    more = ["strategy.freezing.every=2", "trainer.max_epochs=6", "selection.metric=val/loss"]
    plain = run("chain_thaw", "cache=off", *more, study="plain")
    step = TransferModule.training_step

    def stopping(module: TransferModule, batch: Any, batch_idx: int) -> Any:
        if module.current_epoch == 4:
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(TransferModule, "training_step", stopping)
        assert cli.main(words("chain_thaw", "study=again", "cache=off", *more)) == 130
    alike(run("chain_thaw", "cache=on", *more, study="again"), plain)


@pytest.mark.slow
def test_a_loss_with_a_copy_of_the_net_that_trains_on_its_own_sees_the_inputs():
    more = ["strategy/freezing=chain_thaw", "strategy.freezing.every=1", "trainer.precision=64-true"]
    alike(run("bi_tuning", "cache=on", *more, study="on"), run("bi_tuning", "cache=off", *more, study="off"))


def test_values_that_are_hidden_are_no_part_of_what_others_left(monkeypatch):
    from PIL import Image

    Path("images").mkdir()
    for number in range(24):
        folder = Path("images", f"class{number % 2}")
        folder.mkdir(exist_ok=True)
        noise = torch.randint(256, (12, 12, 3), generator=torch.Generator().manual_seed(number), dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(folder / f"{number}.png")
    more = ["target=folder", f"target.data.root={Path('images').resolve()}", "target.data.train=null"]
    more += ["target.data.test=null", "target.data.in_memory=false", "source=none", "target.labels=all"]
    base = ["train", "strategy=linear_probe", "strategy.start=random", *more, "backbone.input.shape=[3,12,12]"]
    base += ["backbone.widths=[4,8]", "batch_size=8", "trainer.max_epochs=2", "tracker=none", "trainer.accelerator=cpu"]
    for share, use in ((0.1, "on"), (0.9, "on"), (0.9, "off")):
        assert cli.main([*base, f"target.missing_values={share}", f"cache={use}", f"study={use}{share}"]) == 0
    alike(record("on0.9"), record("off0.9"))


def test_a_file_that_cannot_be_read_keeps_nobody_from_listing_and_clearing():
    run("linear_probe", "cache=on")
    (broken, *_) = Path("cache/activations").glob("*/*/segment.json")
    broken.write_text("{")
    run("linear_probe", "cache=on", "source.pretrain.seed=1", study="other")
    assert cli.main(["cache"]) == 0
    assert cli.main(["cache", "clear"]) == 0
    assert not list(Path("cache/activations").glob("*/*"))


def photographs(folder: Path) -> list[str]:
    draw = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 4)):
        for label in ("a", "b"):
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 255, (9, 9, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{number}.png")
    return ["target=folder", f"target.data.root={folder}", "backbone.input.shape=[3,8,8]", "diagnostics=none"]


def whole_but_for_pixels(png: bytes) -> bytes:
    """A picture that Pillow verifies and cannot decode: the packed pixels end too early, with a right checksum."""
    start = png.index(b"IDAT") - 4
    length = int.from_bytes(png[start : start + 4], "big")
    packed = png[start + 8 : start + 8 + length // 2]
    chunk = len(packed).to_bytes(4, "big") + b"IDAT" + packed + zlib.crc32(b"IDAT" + packed).to_bytes(4, "big")
    return png[:start] + chunk + png[start + 12 + length :]


def test_images_whose_activations_are_all_kept_are_not_decoded(place, monkeypatch):
    own = photographs(place / "photographs")
    first = run("linear_probe", *own, "cache=on", study="first")
    decoded, decode = [], Images._decoded

    def counted(images, position):
        decoded.append(position)
        return decode(images, position)

    monkeypatch.setattr(Images, "_decoded", counted)
    second = run("linear_probe", *own, "cache=on", study="second")
    alike(first, second, exactly=True)
    assert not decoded


@pytest.mark.parametrize("broken", ["train/a/3.png", "test/b/2.png"])
@pytest.mark.parametrize("cache", ["on", "off"])
def test_an_image_that_cannot_be_decoded_is_found_before_the_first_step(place, broken, cache, capsys, monkeypatch):
    own = photographs(place / "photographs")
    run("linear_probe", *own, "cache=off", study="first")
    file = place / "photographs" / broken
    file.write_bytes(whole_but_for_pixels(file.read_bytes()))
    monkeypatch.setattr(TransferModule, "training_step", lambda *given: pytest.fail("a step was taken"))
    assert cli.main(words("linear_probe", "study=s", *own, f"cache={cache}")) == 1
    assert f"{broken} is no readable image" in capsys.readouterr().err
