import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
import torch
from torch.testing import assert_close

from transferlab import cli
from transferlab.data.audio import Reading
from transferlab.data.ragged import Ragged
from transferlab.data.recordings import audio_folder, audio_manifest, spoken_digits
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.audio import WaveInput

READING = {"in_memory": True, "expect_rate": None, "channels": "mix"}
AT_8K = WaveInput(8000, None, False)


def sound(seconds=0.1, rate=8000, channels=1, seed=0):
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), channels))
    return (noise if channels > 1 else noise[:, 0]).astype(np.float32)


def write(file, wave=None, rate=8000, subtype="PCM_16"):
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, sound(rate=rate) if wave is None else wave, rate, subtype=subtype)


def folder(root, **changes):
    return audio_folder(**{"root": str(root), "train": None, "test": "test", **READING, **changes})


def manifest(path, **changes):
    options = {"root": None, "file": "path", "label": "label", "numbers": False, "separator": None, "split": None}
    return audio_manifest(**{"path": str(path), **options, **READING, **changes})


def one(tmp_path, wave=None, rate=8000, subtype="PCM_16", suffix="wav", input=AT_8K, **changes):
    """The only recording of a set, as it is fetched."""
    write(tmp_path / "yes" / f"a.{suffix}", wave, rate, subtype)
    batch, _ = folder(tmp_path, **changes).train.prepared(input)[[0]]
    return batch.h[0]


def test_a_folder_gives_its_sub_folders_as_classes_and_both_splits(tmp_path):
    for place in ("train/no/1.wav", "train/yes/1.flac", "train/yes/deep/2.wav", "test/yes/3.wav"):
        write(tmp_path / place)
    (tmp_path / "train/yes/notes.txt").write_text("no sound")
    splits = folder(tmp_path, train="train")
    assert splits.classes == ("no", "yes")
    assert splits.train.y.tolist() == [0, 1, 1] and splits.test.y.tolist() == [1]
    assert folder(tmp_path / "train").test is None


def test_sixteen_bits_at_the_nets_rate_are_kept_exactly(tmp_path):
    whole = np.random.default_rng(0).integers(-(2**15), 2**15, 4000).astype(np.int16)
    for suffix in ("wav", "flac"):
        found = one(tmp_path / suffix, whole, suffix=suffix)
        assert found.dtype == torch.int16
        assert found.tolist() == whole.tolist()


def test_finer_samples_are_kept_as_floats_beside_sixteen_bits(tmp_path):
    fine = sound() + np.float32(1e-6)
    write(tmp_path / "a" / "1.wav", fine, subtype="FLOAT")
    write(tmp_path / "b" / "1.wav", sound())
    batch, _ = folder(tmp_path).train.prepared(AT_8K)[[0, 1]]
    assert batch.h.dtype == torch.float32
    assert_close(batch.h[0], torch.from_numpy(fine), rtol=0, atol=0)
    assert_close(batch.h[1], torch.from_numpy(sound()), rtol=0, atol=2**-15)


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16000), (44100, 16000), (16000, 8000)])
def test_another_rate_is_resampled_by_soxr(tmp_path, rate, wanted):
    wave = sound(0.3, rate)
    found = one(tmp_path, wave, rate, "FLOAT", input=WaveInput(wanted, None, False))
    assert_close(found, torch.from_numpy(soxr.resample(wave, rate, wanted)), rtol=0, atol=1e-6)
    assert abs(len(found) - 0.3 * wanted) <= 1


def test_a_tone_keeps_its_pitch_at_another_rate(tmp_path):
    time = np.arange(8000) / 8000
    found = one(tmp_path, np.sin(2 * np.pi * 440 * time).astype(np.float32), input=WaveInput(16000, None, False))
    spectrum = np.abs(np.fft.rfft(found.float().numpy()))
    assert int(spectrum.argmax()) == 440  # a bin of one second's spectrum is one hertz


def test_several_channels_are_averaged(tmp_path):
    wave = sound(channels=2)
    assert_close(one(tmp_path, wave, subtype="FLOAT"), torch.from_numpy(wave.mean(1)), rtol=0, atol=1e-7)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_recording_is_heard_for_its_seconds_and_a_shorter_one_whole(tmp_path, in_memory):
    write(tmp_path / "a" / "long.wav", sound(0.5, 16000), 16000)
    write(tmp_path / "b" / "short.wav", sound(0.1))
    samples = folder(tmp_path, in_memory=in_memory).train.prepared(WaveInput(8000, 0.2, False))
    batch, _ = samples[[0, 1]]
    assert batch.mask.sum(1).tolist() == [1600, 800]


def test_read_at_the_start_or_a_batch_at_a_time_the_batches_are_the_same(tmp_path):
    for number, seconds in enumerate((0.1, 0.25, 0.07, 0.2)):
        write(tmp_path / f"class{number % 2}" / f"{number}.wav", sound(seconds, 11025, seed=number), 11025)
    held, read = (folder(tmp_path, in_memory=kind).train for kind in (True, False))
    assert isinstance(held.prepared(AT_8K), Ragged) and not isinstance(read.prepared(AT_8K), Ragged)
    chosen = torch.tensor([3, 0, 1])
    batches = [samples.take(chosen).prepared(AT_8K)[[2, 0]] for samples in (held, read)]
    (first, labels), (second, others) = batches
    assert torch.equal(first.h, second.h) and torch.equal(first.mask, second.mask) and torch.equal(labels, others)
    assert torch.equal(labels, held.y[[1, 3]])
    expected = soxr.resample(soundfile.read(held.files[1], dtype="float32")[0], 11025, 8000)
    assert_close(first.h[0][first.mask[0]] / 2**15, torch.from_numpy(expected), rtol=0, atol=2**-15)


def test_new_labels_go_to_the_same_recordings(tmp_path):
    for number in range(3):
        write(tmp_path / "a" / f"{number}.wav", sound(0.1 * (number + 1)))
    changed = folder(tmp_path).train.relabelled(torch.tensor([5, 6, 7])).take(torch.tensor([2, 0]))
    batch, y = changed.prepared(AT_8K)[[0, 1]]
    assert y.tolist() == [7, 5] and batch.mask.sum(1).tolist() == [2400, 800]


def test_a_fingerprint_changes_with_sound_labels_and_order_alone(tmp_path):
    for number in range(2):
        write(tmp_path / "a" / f"{number}.wav", sound(seed=number))
    samples = folder(tmp_path).train
    first = samples.fingerprint()
    assert folder(tmp_path, in_memory=False).train.fingerprint() == first
    assert samples.relabelled(torch.tensor([0, 1])).fingerprint() != first
    assert samples.take(torch.tensor([1, 0])).fingerprint() != first
    write(tmp_path / "a" / "1.wav", sound(seed=9))
    assert folder(tmp_path).train.fingerprint() != first


@pytest.fixture
def listed(tmp_path):
    for name in ("one", "two", "three"):
        write(tmp_path / "waves" / f"{name}.wav")
    file = tmp_path / "list.csv"
    file.write_text("path,label,part\nwaves/one.wav,no,train\nwaves/two.wav, yes,train\nwaves/three.wav,yes,test\n")
    return file


def test_a_manifest_gives_rows_in_order_and_its_split(listed):
    splits = manifest(listed, split="part")
    assert splits.classes == ("no", "yes")
    assert [Path(file).stem for file in splits.train.files] == ["one", "two"]
    assert splits.train.y.tolist() == [0, 1] and splits.test.y.tolist() == [1]
    assert manifest(listed).test is None and len(manifest(listed).train) == 3


def test_rows_of_a_manifest_without_a_class_are_left_out_and_counted(listed):
    listed.write_text(listed.read_text() + "waves/one.wav,,train\n")
    splits = manifest(listed, split="part")
    assert (len(splits.train), splits.unlabelled) == (2, 1)


def test_na_and_none_are_classes_of_recordings(listed):
    listed.write_text("path,label\nwaves/one.wav,NA\nwaves/two.wav,None\nwaves/three.wav,\n")
    splits = manifest(listed)
    assert (splits.classes, splits.unlabelled) == (("NA", "None"), 1)
    assert [Path(file).stem for file in splits.train.files] == ["one", "two"]


def test_recordings_may_have_numbers_several_of_them_and_several_labels(listed):
    listed.write_text(
        "path,pitch,loud,said,part\n"
        "waves/one.wav,220.5,1,no|loud,train\nwaves/two.wav,NA,,loud | yes,train\nwaves/three.wav,-1,0,,test\n"
    )
    nan = np.nan
    for options, classes, train, test in (
        ({"label": "pitch", "numbers": True}, ("pitch",), [220.5, nan], [-1]),
        ({"label": ["pitch", "loud"]}, ("pitch", "loud"), [[220.5, 1], [nan, nan]], [[-1, 0]]),
        ({"label": "said", "separator": "|"}, ("loud", "no", "yes"), [[1, 1, 0], [1, 0, 1]], [[nan] * 3]),
    ):
        splits = manifest(listed, split="part", **options)
        assert (splits.classes, splits.unlabelled) == (classes, 0)
        np.testing.assert_array_equal(splits.train.y.numpy(), np.array(train, np.float32))
        np.testing.assert_array_equal(splits.test.y.numpy(), np.array(test, np.float32))
        assert splits.train.prepared(AT_8K)[[1]][1].equal(splits.train.y[1:]) or np.isnan(train[1]).any()


@pytest.mark.parametrize(
    ("task", "label"),
    [
        ("multilabel", ["target.data.label=[loud,long]"]),
        ("multilabel", ["target.data.label=said", "target.data.separator='|'"]),
        ("regression", ["target.data.label=pitch", "target.data.numbers=true"]),
    ],
)
def test_a_run_learns_several_labels_or_numbers_of_recordings(tmp_path, task, label):
    rows = ["path,loud,long,said,pitch"]
    for number in range(12):
        write(tmp_path / f"{number}.wav", sound(0.05, seed=number))
        empty = number == 5  # a label that is missing
        rows.append(f"{number}.wav,{number % 2},{'' if empty else number // 2 % 2},a|{'bc'[number % 2]},{number}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    net = ["backbone=convnet", "backbone.widths=[4]", "input@backbone.input=log_mel", "backbone.input.seconds=0.05"]
    words = ["source=none", "strategy=scratch", "target=audio_manifest", f"target.data.path={tmp_path}/list.csv"]
    words += [f"task={task}", "tracker=none", "trainer.max_epochs=1", "batch_size=4", f"paths.runs={tmp_path}/runs"]
    assert cli.main(["train", *net, *words, *label]) == 0
    (file,) = (tmp_path / "runs").glob("*/*/run.json")
    record = json.loads(file.read_text())
    classes = {"[loud,long]": ["loud", "long"], "said": ["a", "b", "c"], "pitch": ["pitch"]}
    assert record["data"]["classes"] == classes[label[0].rpartition("=")[2]]
    assert np.isfinite(record["metrics"]["selected"]["test/loss"])


def test_a_parquet_table_lists_recordings_too(listed, tmp_path):
    pd.read_csv(listed).to_parquet(tmp_path / "list.parquet")
    csv, parquet = (manifest(tmp_path / f"list.{suffix}", split="part") for suffix in ("csv", "parquet"))
    assert csv.train.fingerprint() == parquet.train.fingerprint()
    assert csv.classes == parquet.classes


def test_a_manifests_paths_start_from_its_root(listed, tmp_path):
    moved = tmp_path / "elsewhere.csv"
    moved.write_text("path,label\none.wav,a\ntwo.wav,b\n")
    assert len(manifest(moved, root=str(tmp_path / "waves")).train) == 2


@pytest.mark.parametrize(
    ("row", "options", "sentence"),
    [
        ("waves/gone.wav,no,train", {}, r"row 4: there is no file .*gone\.wav"),
        ("waves/one.wav,,train\n,no,train", {}, r"row 5 has nothing in column 'path'"),
        (",no,train", {}, r"row 4 has nothing in column 'path'"),
        ("waves/one.wav,no,dev", {"split": "part"}, r"row 4: column 'part' says 'dev'; it says train or test"),
        ("waves/one.wav,maybe,test", {"split": "part"}, r"the classes \['maybe'\], which its training split lacks"),
        ("waves/one.wav,no,train,more,cells", {}, "cannot be read"),
        ("", {"label": "class"}, r"no column of .*list\.csv 'class'"),
        ("", {"numbers": True}, r"row 1 has 'no' in column 'label', which is no number: correct it$"),
    ],
)
def test_a_row_that_is_wrong_is_named(listed, row, options, sentence):
    listed.write_text(listed.read_text() + row + "\n")
    with pytest.raises(InputError, match=sentence):
        manifest(listed, **options)


def test_a_manifest_that_is_missing_or_empty_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        manifest(tmp_path / "none.csv")
    for text in ("", "path,label\n"):
        (tmp_path / "empty.csv").write_text(text)
        with pytest.raises(InputError, match=r"empty\.csv"):
            manifest(tmp_path / "empty.csv")


def broken(file):
    file.write_bytes(b"RIFF but no more")


def headed(rate):
    """A file whose header says so."""

    def make(file):
        write(file)
        content = bytearray(file.read_bytes())
        content[24:28] = rate.to_bytes(4, "little")
        file.write_bytes(content)

    return make


BAD = [
    (broken, {}, r"a\.wav is no readable sound file"),
    (lambda file: write(file, np.zeros(0, np.float32)), {}, r"a\.wav is an empty recording"),
    (lambda file: file.unlink(), {}, r"there is no file .*a\.wav"),
    (lambda file: write(file, rate=16000), {"expect_rate": 8000}, r"has 16000 samples a second, .*expect_rate=8000"),
    (headed(500), {}, r"says that it has 500 samples a second.*1000 to 384000"),
    (headed(2_000_000), {}, r"says that it has 2000000 samples a second"),
    (lambda file: write(file, sound(channels=2)), {"channels": "refuse"}, r"has 2 channels"),
    (
        lambda file: write(file, np.array([0, 0, np.nan, 0], np.float32), subtype="FLOAT"),
        {},
        r"NaN or infinity at sample 2",
    ),
]


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(("make", "options", "sentence"), BAD, ids=[sentence for *_, sentence in BAD])
def test_a_bad_recording_is_named_whenever_it_is_read(tmp_path, make, options, sentence, in_memory):
    for name in ("a", "b"):
        write(tmp_path / "yes" / f"{name}.wav")
    samples = folder(tmp_path, in_memory=in_memory, **options).train
    make(tmp_path / "yes" / "a.wav")
    with pytest.raises(InputError, match=sentence):
        samples.prepared(AT_8K)[[0]]


@pytest.mark.parametrize(("make", "options", "sentence"), BAD[:7], ids=[sentence for *_, sentence in BAD[:7]])
def test_what_a_header_says_is_found_before_training(tmp_path, make, options, sentence):
    write(tmp_path / "yes" / "a.wav")
    samples = folder(tmp_path, in_memory=False, **options).train
    make(tmp_path / "yes" / "a.wav")
    with pytest.raises(InputError, match=sentence):
        samples.fingerprint()


def test_sound_for_a_net_that_takes_images_is_refused_with_what_to_choose(tmp_path):
    write(tmp_path / "yes" / "a.wav")
    with pytest.raises(InputError, match=r"takes images, the data are sound: .*input@backbone\.input=log_mel"):
        folder(tmp_path).train.prepared(ArrayInput.of(1, 28, 28))


def test_folders_that_hold_nothing_are_refused(tmp_path):
    (tmp_path / "empty" / "yes").mkdir(parents=True)
    write(tmp_path / "more" / "train" / "yes" / "a.wav")
    write(tmp_path / "more" / "test" / "no" / "a.wav")
    for place, options, sentence in (
        ("gone", {}, "there is no folder"),
        ("empty/yes", {}, "has no sub-folders"),
        ("empty", {}, "holds no sound files"),
        ("more", {"train": "train"}, r"has the classes \['no'\]"),
    ):
        with pytest.raises(InputError, match=sentence):
            folder(tmp_path / place, **options)


def test_a_way_with_channels_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"channels=left: mix or refuse"):
        Reading(True, None, "left")


def digits(root, train=None, test=None):
    return spoken_digits(str(root), train, test, True, 8000, "mix")


@pytest.fixture(scope="module")
def three_speakers(tmp_path_factory):
    root = tmp_path_factory.mktemp("digits")
    for digit in range(10):
        for speaker in ("anna", "ben", "cleo"):
            for number in range(7):
                write(root / f"{digit}_{speaker}_{number}.wav", sound(0.01, seed=number))
    (root / "readme.md").write_text("no digit")
    return root


def speakers(samples):
    return {Path(file).stem.split("_")[1] for file in samples.files}


def numbers(samples):
    return {int(Path(file).stem.split("_")[2]) for file in samples.files}


def test_spoken_digits_are_split_as_published(three_speakers):
    splits = digits(three_speakers)
    assert numbers(splits.test) == {0, 1, 2, 3, 4} and numbers(splits.train) == {5, 6}
    assert len(splits.test) == 150 and len(splits.train) == 60
    assert [Path(file).name[0] for file in splits.train.files] == [splits.classes[y] for y in splits.train.y]


@pytest.mark.parametrize(
    ("train", "test", "trained", "tested"),
    [
        (None, ["ben"], {"anna", "cleo"}, {"ben"}),
        (["anna"], ["ben"], {"anna"}, {"ben"}),
        (["anna"], None, {"anna"}, {"anna"}),
    ],
)
def test_speakers_are_left_out_and_one_speakers_digits_go_to_anothers(three_speakers, train, test, trained, tested):
    splits = digits(three_speakers, train, test)
    assert speakers(splits.train) == trained and speakers(splits.test) == tested
    assert not set(splits.train.files) & set(splits.test.files)
    assert len(splits.train) == (20 if test is None else 70 * len(trained))


def test_speakers_that_do_not_fit_are_refused(three_speakers, tmp_path):
    for train, test, sentence in (
        (["dora"], None, r"no speaker 'dora'.*anna, ben, cleo"),
        (["anna"], ["anna", "ben"], "none of them tests"),
        (None, ["anna", "ben", "cleo"], "at least one speaker trains"),
        ([], ["anna"], "at least one speaker trains"),
    ):
        with pytest.raises(InputError, match=sentence):
            digits(three_speakers, train, test)
    with pytest.raises(InputError, match="no spoken digits lie there"):
        digits(tmp_path)


def test_the_free_spoken_digits_are_3000_recordings_by_six_speakers(real_data):
    splits = digits(real_data / "fsdd" / "recordings")
    assert len(splits.train) == 2700 and len(splits.test) == 300
    assert np.bincount(splits.train.y).tolist() == [270] * 10
    assert len(speakers(splits.train)) == 6
    few = splits.train.take(torch.arange(0, 2700, 500))
    batch, _ = few.prepared(WaveInput(16000, None, False))[range(len(few))]
    seconds = [soundfile.info(few.files[place]).duration for place in few.places]
    assert_close(batch.mask.sum(1) / 16000, torch.tensor(seconds), rtol=0, atol=1e-3)
