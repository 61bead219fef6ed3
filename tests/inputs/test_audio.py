import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import ASTFeatureExtractor, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from transferlab.backbones.small import convnet
from transferlab.errors import InputError
from transferlab.inputs.audio import MelInput, WaveInput, published
from transferlab.inputs.mel import log_mel
from transferlab.values import Seq

MEL = {
    "rate": 16000,
    "seconds": None,
    "layout": "frames",
    "bands": 40,
    "window": 25,
    "hop": 10,
    "lowest": 20,
    "mean": None,
    "std": None,
    "padding": None,
}


def mel(**changes):
    return MelInput(**{**MEL, **changes})


def image(**changes):
    return mel(**{"layout": "image", "seconds": 0.5, **changes})


def tone(seconds=0.6, rate=16000, hertz=440.0):
    time = torch.arange(round(seconds * rate)) / rate
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return 0.4 * torch.sin(2 * torch.pi * hertz * time) + 0.01 * noise


def together(*waves):
    h = torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True)
    return Seq(h, torch.arange(h.shape[1]) < torch.tensor([len(wave) for wave in waves])[:, None])


@pytest.mark.parametrize(
    ("rate", "window", "hop", "bands"), [(16000, 25, 10, 40), (8000, 32, 16, 24), (22050, 20, 5, 80)]
)
def test_the_spectrum_is_that_of_transformers_own_numpy_formula(rate, window, hop, bands):
    wave = tone(rate=rate)
    length, step = round(window * rate / 1000), round(hop * rate / 1000)
    size = 2 ** int(np.ceil(np.log2(length)))
    filters = mel_filter_bank(size // 2 + 1, bands, 20, rate // 2, rate, None, "kaldi", True)
    expected = spectrogram(
        wave.numpy(),
        window_function(length, "hann", periodic=False),
        length,
        step,
        size,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=2.0**-23,
        remove_dc_offset=True,
    ).T
    found = log_mel(wave[None], rate, bands, window, hop, 20)[0]
    assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-3)


def test_a_tone_is_loudest_in_the_band_around_it():
    centres = 700 * (np.exp(np.linspace(*(1127 * np.log1p(np.array([20, 8000]) / 700)), 42)[1:-1] / 1127) - 1)
    for hertz in (300, 1000, 4000):
        loudest = log_mel(tone(hertz=hertz)[None], 16000, 40, 25, 10, 20).mean(1).argmax()
        assert int(loudest) == int(np.abs(centres - hertz).argmin())


@pytest.mark.parametrize("seconds", [0.3, 0.7])
def test_asts_spectra_are_its_own_feature_extractors(seconds, tmp_path):
    extractor = ASTFeatureExtractor(num_mel_bins=64, max_length=48, mean=-3.0, std=2.0)
    extractor.save_pretrained(tmp_path)
    ours = published(str(tmp_path), None)
    wave = tone(seconds)
    expected = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")["input_values"]
    assert ours.shape == (1, 64, 48)
    assert_close(ours.normalised(together(wave))[:, 0].transpose(1, 2), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("normalises", [True, False])
def test_waves_are_as_the_published_feature_extractor_gives_them(normalises, tmp_path):
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=normalises, return_attention_mask=True)
    extractor.save_pretrained(tmp_path)
    ours = published(str(tmp_path), None)
    assert ours.rate == 8000
    waves = [tone(0.2), 0.1 + tone(0.11)]
    expected = extractor([wave.numpy() for wave in waves], sampling_rate=8000, padding=True, return_tensors="pt")
    found = ours.normalised(together(*waves))
    assert_close(found.h, expected["input_values"], rtol=1e-5, atol=1e-5)
    assert torch.equal(found.mask, expected["attention_mask"].bool())


def test_sixteen_bits_are_scaled_to_one():
    whole = torch.tensor([[-(2**15), 2**14, 0]], dtype=torch.int16)
    found = WaveInput(8000, None, False).normalised(Seq(whole, torch.ones(1, 3, dtype=torch.bool)))
    assert found.h.tolist() == [[-1.0, 0.5, 0.0]]


@pytest.mark.parametrize(
    "sound", [WaveInput(16000, None, True), mel(), mel(mean=-5.0, std=4.0)], ids=["wave", "own", "given"]
)
def test_a_padded_recording_is_what_it_is_alone_and_its_mask_says_where_it_ends(sound):
    waves = [tone(0.5), tone(0.2, hertz=900), tone(0.31)]
    batch = sound.normalised(together(*waves))
    for row, wave in enumerate(waves):
        alone = sound.normalised(together(wave))
        length = alone.h.shape[1]
        assert alone.mask.all() and int(batch.mask[row].sum()) == length
        assert_close(batch.h[row, :length], alone.h[0], rtol=1e-4, atol=1e-4)
        assert not batch.h[row, length:].any()


def test_each_recordings_own_normalisation_gives_mean_0_and_deviation_1_over_what_is_real():
    batch = mel().normalised(together(tone(0.5), 0.01 * tone(0.2)))
    for row in range(2):
        real = batch.h[row][batch.mask[row]]
        assert_close(real.mean(), torch.tensor(0.0), rtol=0, atol=1e-4)
        assert_close(real.std(correction=0), torch.tensor(1.0), rtol=1e-3, atol=0)


def test_an_image_shows_its_seconds_whatever_the_batch_holds():
    sound = image()
    assert sound.shape == (1, 40, 48)
    short, long = tone(0.2), tone(0.5)
    for batch in (together(short), together(short, long)):
        assert sound.normalised(batch).shape == (len(batch.h), 1, 40, 48)
    assert_close(sound.normalised(together(short, long))[:1], sound.normalised(together(short)), rtol=1e-4, atol=1e-4)
    assert not sound.normalised(together(short))[0, 0, :, 18:].any()
    assert (image(mean=1.0, std=2.0, padding=0.0).normalised(together(short))[0, 0, :, 18:] == -0.5).all()


def test_a_recording_shorter_than_a_window_has_one_frame():
    found = mel().normalised(together(tone(0.01)))
    assert found.h.shape == (1, 1, 40) and found.mask.all() and found.h.isfinite().all()


def test_silence_and_one_sample_stay_finite():
    for wave in (torch.zeros(4000), torch.ones(1)):
        for sound in (WaveInput(16000, None, True), mel(), image()):
            found = sound.normalised(together(wave))
            assert (found if isinstance(found, torch.Tensor) else found.h).isfinite().all()


@pytest.mark.parametrize("sound", [WaveInput(16000, None, True), WaveInput(16000, 0.1, False), mel()])
def test_an_example_is_the_same_at_every_call_and_has_padding(sound):
    first, second = sound.example(3), sound.example(3)
    assert torch.equal(first.h, second.h) and len(first.h) == 3
    assert first.mask[0].all() and not first.mask[2].all()


def test_a_spectrum_is_an_image_for_a_net_that_takes_images():
    sound = image()
    assert convnet(sound, [4, 8])(sound.example(2)).shape == (2, 8)
    assert sound.example(3).shape == (3, *sound.shape)


def test_sound_that_a_net_does_not_take_is_refused_with_what_to_choose():
    for sound in (WaveInput(16000, None, True), mel()):
        with pytest.raises(InputError, match=r"input@backbone\.input=log_mel"):
            convnet(sound, [4])
    for sound in (WaveInput(16000, None, True), image()):
        with pytest.raises(InputError, match=r"input@backbone\.input=mel_frames"):
            _ = sound.channels
    assert mel().channels == 40


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"rate": 999}, r"rate=999: from 1000"),
        ({"rate": 384001}, r"rate=384001.*to 384000"),
        ({"seconds": 0}, r"seconds=0: more than 0"),
        ({"layout": "images"}, "image or frames"),
        ({"layout": "image"}, r"seconds=null: an image has a fixed size"),
        ({"bands": 0}, "at least one band"),
        ({"lowest": 8000}, "half the rate, 8000"),
        ({"hop": 0.01}, "at least one sample"),
        ({"mean": 1.0}, "belong together"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        mel(**wrong)


def test_a_published_input_says_what_is_missing_or_not_for_sound_nets_here(tmp_path):
    with pytest.raises(InputError, match=r"origin=null"):
        published(None, None)
    with pytest.raises(InputError, match=r"no preprocessor_config\.json"):
        published(str(tmp_path), None)
    SeamlessM4TFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="SeamlessM4TFeatureExtractor"):
        published(str(tmp_path), None)
