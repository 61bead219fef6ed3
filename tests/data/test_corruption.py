"""Noise in the inputs, and that who reconstructs is to find what was there before it."""

import json

import pytest
import torch
from scipy import stats

from transferlab import cli
from transferlab.data.augmentation.base import Augmentation
from transferlab.data.augmentation.corruption import GaussianNoise, MaskingNoise
from transferlab.data.augmentation.images import Flip
from transferlab.data.module import TransferData
from transferlab.data.parts import Parts
from transferlab.data.samples import InMemory, Splits
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.text import TextInput

IMAGES, TABLE = ArrayInput.of(3, 6, 5), ArrayInput.of(7)
NOISE, MASKING = GaussianNoise(0.5), MaskingNoise(0.25)


def numbers(n, seed=0):
    return torch.randint(1, 256, (n, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_gaussian_noise_is_normal_of_its_width_and_independent_between_numbers():
    x = torch.randn(300, 3, 6, 5)
    added = (NOISE(x, None, range(300))[0] - x).flatten(1)
    assert stats.kstest(added.flatten() / 0.5, "norm").pvalue > 0.01
    neighbours = stats.pearsonr(added[:, :-1].flatten(), added[:, 1:].flatten())
    samples = stats.pearsonr(added[:-1].flatten(), added[1:].flatten())
    assert neighbours.pvalue > 0.01 and samples.pvalue > 0.01


@pytest.mark.parametrize(("shape", "lost"), [((3, 6, 5), 22), ((7,), 2)])  # a quarter of 90 and of 7 numbers
def test_masking_hides_a_fixed_count_of_each_samples_numbers_and_leaves_the_others(shape, lost):
    x = 1 + torch.rand(2000, *shape)
    masked = MASKING(x, None, range(2000))[0]
    hidden = masked == 0
    assert (hidden.flatten(1).sum(1) == lost).all()
    assert torch.equal(masked[~hidden], x[~hidden])
    # every number is as likely to be hidden; a fixed count spreads less than independent draws would
    assert stats.chisquare(hidden.flatten(1).sum(0)).pvalue > 0.01


def data(augmentation, reconstructs=True):
    target, source = (InMemory(numbers(8, seed), torch.arange(8) % 2) for seed in (0, 1))
    parts = Parts(target, target, target, ("ant", "bee"), 8)
    input = ArrayInput((3, 6, 5), [0.5], [0.25], "bilinear", None)
    whole = Splits(source, None, ("ant", "bee"))
    return TransferData(parts, whole, frozenset({"source"}), input, reconstructs, 4, 0, 0, augmentation)


def epoch_of(module):
    return [module.on_after_batch_transfer(batch, index) for batch, index, _ in module.train_dataloader()]


def rows(found):
    return sorted(map(tuple, found.flatten(1).tolist()))


@pytest.mark.parametrize("change", [NOISE, MASKING])
def test_who_reconstructs_has_the_clean_inputs_for_labels_in_every_domain(change):
    module = data(Augmentation({"noise": change}, {}))
    batches = epoch_of(module)
    for domain, seed in (("target", 0), ("source", 1)):
        x, y = (torch.cat([batch[domain][part] for batch in batches]) for part in (0, 1))
        assert rows(y) == rows((numbers(8, seed) / 255 - 0.5) / 0.25)
        assert all((one != other).any() for one, other in zip(x, y, strict=True))
    for loader in (module.val_dataloader(), module.test_dataloader()):
        ((x, y),) = [module.on_after_batch_transfer(batch, 0) for batch in loader]
        assert torch.equal(x, y)


def test_what_moves_an_image_moves_the_label_of_who_reconstructs_with_it():
    (one, two) = epoch_of(data(Augmentation({"flip": Flip(1.0), "masking": MASKING}, {})))
    for x, y in (one["target"], two["target"]):
        assert torch.equal(x[x != 0], y[x != 0])
    y = torch.cat([one["target"][1], two["target"][1]])
    assert rows(y) == rows((numbers(8).flip(-1) / 255 - 0.5) / 0.25)


def test_who_classifies_keeps_its_labels():
    batches = epoch_of(data(Augmentation({"masking": MASKING}, {}), reconstructs=False))
    assert sorted(torch.cat([batch["target"][1] for batch in batches]).tolist()) == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("change", "input", "said"),
    [
        (NOISE, TextInput("words", 500, 64), "k changes images and tables, the backbone takes texts"),
        (MASKING, TextInput("words", 500, 64), "choose augmentation=none"),
        (GaussianNoise(0.0), IMAGES, r"k\.std=0\.0"),
        (MaskingNoise(0.0), IMAGES, r"k\.share=0\.0: a share"),
        (MaskingNoise(1.0), IMAGES, r"k\.share=1\.0: a share"),
        (MaskingNoise(0.05), TABLE, r"k\.share=0\.05: of 7 numbers"),
        (MaskingNoise(0.99), TABLE, r"k\.share=0\.99: of 7 numbers"),
    ],
)
def test_what_cannot_be_corrupted_is_said(change, input, said):
    with pytest.raises(InputError, match=said):
        change.prepared("k", input, torch.zeros(4).long())


@pytest.mark.slow
def test_a_denoising_autoencoder_is_a_source_that_is_fine_tuned(tmp_path):
    words = ["source=mnist5k", "task@source.pretrain.task=reconstruction", "backbone=autoencoder"]
    words += ["backbone.widths=[4,8]", "backbone.code=6", "backbone.input.shape=[1,8,8]", "target=digits"]
    words += ["augmentation@source.pretrain.augmentation=masking_noise", "source.pretrain.target.labels=100"]
    words += ["source.pretrain.max_epochs=2", "target.labels=10", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    assert cli.main(["train", *words, "tracker=none", "diagnostics=none", f"paths.runs={tmp_path}"]) == 0
    (source,), (run,) = ([*tmp_path.glob(f"{study}/*/run.json")] for study in ("pretraining", "default"))
    trained = json.loads(source.read_text())
    assert list(trained["config"]["augmentation"]["each"]) == ["masking"]
    history = trained["history"]
    assert history[1]["train/task_loss"] < history[0]["train/task_loss"]
    assert json.loads(run.read_text())["status"] == "finished"
