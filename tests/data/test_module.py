import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from torchvision.transforms.v2 import functional as transforms

from transferlab.data.images import Images
from transferlab.data.module import TransferData
from transferlab.data.parts import Parts
from transferlab.data.ragged import Ragged
from transferlab.data.samples import InMemory, Splits
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.values import Seq

CLASSES = ("ant", "bee", "cat")


def pixels(n, channels=1, seed=0):
    x = torch.randint(0, 256, (n, channels, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return InMemory(x, torch.arange(n))


def numbered(n, start=0):
    """A table whose only column is the sample's own number."""
    return InMemory(torch.arange(start, start + n).float()[:, None], torch.arange(n) % 3)


def data(train, source=None, val=None, test=None, **settings):
    parts = Parts(train, val, test or train, CLASSES, len(train))
    splits = None if source is None else Splits(source, None, CLASSES)
    shape = tuple(train.x.shape[1:]) if isinstance(train, InMemory) else (3, 8, 8)
    taken = {"shape": shape, "mean": None, "std": None, "interpolation": "bilinear", "crop": None}
    input = ArrayInput(**{key: settings.pop(key, value) for key, value in taken.items()})
    plain = {"reads": frozenset(), "reconstructs": False, "batch_size": 4, "workers": 0, "seed": 0}
    return TransferData(parts, splits, input=input, **{**plain, **settings})


SOURCE = {"reads": frozenset({"source"})}


class Texts:
    """An input of another kind than arrays."""

    kind = "texts"

    def normalised(self, x):
        return Seq(x.h + 1, x.mask)

    def example(self, count):
        return Seq(torch.ones(count, 4).long(), torch.ones(count, 4).bool())


def epoch_of(module, epoch=0):
    """The batches of an epoch, as a step would see them."""
    loaders = module.train_dataloader()
    for loader in loaders.flattened:
        loader.sampler.set_epoch(epoch)
    return [module.on_after_batch_transfer(batch, index) for batch, index, _ in loaders]


def evaluated(loader, module):
    return [module.on_after_batch_transfer(batch, 0) for batch in loader]


def seen(batches, domain="target"):
    return [int(number) for batch in batches for number in batch[domain][0]]


@pytest.mark.parametrize(("reads", "domains"), [((), {"target"}), (("source",), {"target", "source"})])
def test_a_batch_holds_the_domains_that_are_read_and_no_others(reads, domains):
    module = data(pixels(12), pixels(20, seed=1), reads=frozenset(reads))
    assert all(set(batch) == domains for batch in epoch_of(module))


class Unreadable(InMemory):
    def prepared(self, input):
        raise AssertionError("the source was read")


def test_a_source_that_no_part_reads_is_left_alone():
    data(pixels(12), Unreadable(pixels(3).x, pixels(3).y), reads=frozenset({"unlabeled"}))
    with pytest.raises(AssertionError, match="the source was read"):
        data(pixels(12), Unreadable(pixels(3).x, pixels(3).y), **SOURCE)


def test_reading_a_source_without_data_is_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"reads source data.*choose e\.g\. source="):
        data(pixels(12), None, **SOURCE)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_without_samples_is_refused(batch_size):
    with pytest.raises(InputError, match=f"batch_size={batch_size}"):
        data(pixels(12), batch_size=batch_size)


@pytest.mark.parametrize(
    ("channels", "mean", "std"),
    [(1, [0.5], [0.25]), (3, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])],
)
def test_every_image_arrives_as_torchvision_would_normalise_it(channels, mean, std):
    target, source, val, test = (pixels(n, channels, seed=n) for n in (12, 20, 5, 7))
    module = data(target, source, val, test, mean=mean, std=std, **SOURCE)
    batches = epoch_of(module)
    arrived = [(target, batch["target"]) for batch in batches] + [(source, batch["source"]) for batch in batches]
    arrived += [(val, batch) for batch in evaluated(module.val_dataloader(), module)]
    arrived += [(test, batch) for batch in evaluated(module.test_dataloader(), module)]
    assert len(arrived) == 3 + 3 + 1 + 1
    for samples, (x, y) in arrived:
        assert x.dtype == torch.float32
        # a sample's label is its own number
        torch.testing.assert_close(x, transforms.normalize(samples.x[y] / 255, mean, std))


def test_without_a_mean_images_are_scaled_and_tables_pass_unchanged():
    train = pixels(5)
    module = data(train)
    ((x, _),) = evaluated(module.test_dataloader(), module)
    torch.testing.assert_close(x, train.x / 255)
    table = InMemory(torch.randn(5, 7), torch.zeros(5).long())
    ((x, _),) = evaluated(data(table).test_dataloader(), data(table))
    assert torch.equal(x, table.x)


@pytest.mark.parametrize(("mean", "std"), [(None, None), ([0.5], [0.5])])
def test_flattened_images_are_on_the_scale_of_images(mean, std):
    train = pixels(5)
    flat = data(train, shape=(64,), mean=mean, std=std)
    whole = data(train, mean=mean, std=std)
    ((x, _),), ((images, _),) = (evaluated(module.test_dataloader(), module) for module in (flat, whole))
    torch.testing.assert_close(x, images.flatten(1))


def test_who_reconstructs_gets_the_normalised_inputs_as_labels_in_training_and_evaluation():
    train = pixels(12)
    module = data(train, pixels(8, seed=1), mean=[0.5], std=[0.25], reconstructs=True, **SOURCE)
    batches = [pair for batch in epoch_of(module) for pair in batch.values()]
    for x, y in [*batches, *evaluated(module.test_dataloader(), module)]:
        assert torch.equal(x, y)
    ((x, _),) = evaluated(data(train, mean=[0.5], std=[0.25], batch_size=12).test_dataloader(), module)
    torch.testing.assert_close(x, transforms.normalize(train.x / 255, [0.5], [0.25]))


def test_reconstructing_sequences_is_refused():
    words = Ragged.of([torch.arange(3), torch.arange(5)], torch.zeros(2))
    parts = Parts(words, None, words, CLASSES, 2)
    module = TransferData(parts, None, frozenset(), Texts(), reconstructs=True, batch_size=2, workers=0, seed=0)
    with pytest.raises(InputError, match="images and tables, not sequences"):
        epoch_of(module)


def test_sequences_arrive_as_their_input_makes_them():
    words = Ragged.of([torch.arange(3), torch.arange(5)], torch.tensor([7, 8]))
    parts = Parts(words, None, words, CLASSES, 2)
    module = TransferData(parts, None, frozenset(), Texts(), reconstructs=False, batch_size=2, workers=0, seed=0)
    ((x, y),) = evaluated(module.test_dataloader(), module)
    assert x.h.tolist() == [[1, 2, 3, 1, 1], [1, 2, 3, 4, 5]]
    assert x.mask.sum(1).tolist() == [3, 5]
    assert y.tolist() == [7, 8]


def test_the_samples_themselves_stay_as_they_were():
    train = numbered(12)
    before = train.x.clone()
    epoch_of(data(train, mean=[1.0], std=[2.0]))
    assert torch.equal(train.x, before)


@pytest.mark.parametrize("source_size", [3, 12, 100])
def test_an_epoch_is_one_pass_over_the_target_whatever_the_source(source_size):
    module = data(numbered(14), numbered(source_size, start=1000), **SOURCE)
    batches = epoch_of(module)
    assert sorted(seen(batches)) == list(range(14))
    assert [len(batch["source"][1]) for batch in batches] == [4, 4, 4, 4]
    assert set(seen(batches, "source")) <= set(range(1000, 1000 + source_size))


def test_the_source_flows_on_from_epoch_to_epoch():
    module = data(numbered(14), numbered(32, start=1000), **SOURCE)
    drawn = [number for epoch in range(2) for number in seen(epoch_of(module, epoch), "source")]
    assert sorted(drawn) == list(range(1000, 1032))  # two epochs of four batches of four


def test_reading_a_source_does_not_change_the_targets_order():
    alone, beside = data(numbered(14)), data(numbered(14), numbered(9), **SOURCE)
    for epoch in range(3):
        assert seen(epoch_of(alone, epoch)) == seen(epoch_of(beside, epoch))


def test_target_and_source_are_shuffled_independently():
    batches = epoch_of(data(numbered(16), numbered(16), **SOURCE))
    assert seen(batches) != seen(batches, "source")


def test_batches_depend_on_the_seed_of_the_run_alone():
    def numbers(seed, state):
        torch.manual_seed(state)
        batches = epoch_of(data(numbered(14), numbered(9), seed=seed, **SOURCE), 1)
        return seen(batches), seen(batches, "source")

    assert numbers(0, 1) == numbers(0, 2)
    assert all(one != two for one, two in zip(numbers(0, 1), numbers(1, 1), strict=True))


def test_validation_and_test_are_every_sample_in_order():
    module = data(numbered(4), val=numbered(600), test=numbered(300, start=1000))
    for loader, start, n in ((module.val_dataloader(), 0, 600), (module.test_dataloader(), 1000, 300)):
        x, y = (torch.cat(column) for column in zip(*evaluated(loader, module), strict=True))
        assert x[:, 0].tolist() == list(range(start, start + n))
        assert torch.equal(y, torch.arange(n) % 3)


def test_without_validation_labels_there_are_no_validation_batches():
    assert len(data(numbered(4)).val_dataloader()) == 0


@pytest.mark.parametrize("kind", ["train", "val", "test"])
def test_a_loader_does_not_touch_the_global_random_state(kind):
    module = data(pixels(12), pixels(20), pixels(5), **SOURCE)
    before = torch.get_rng_state()
    assert len(list(getattr(module, f"{kind}_dataloader")())) > 0
    assert torch.equal(torch.get_rng_state(), before)


class Painted:
    """The i-th image is all of grey level 10 i."""

    def __call__(self, index):
        return Image.new("RGB", (10, 9), (10 * index,) * 3)


def painted(n=8):
    return Images.of(Painted(), [str(i) for i in range(n)], torch.arange(n) % 3)


def test_worker_processes_give_the_batches_that_none_give():
    alone, helped = (epoch_of(data(painted(), workers=workers), 1) for workers in (0, 2))
    assert len(alone) == len(helped) == 2
    for one, two in zip(alone, helped, strict=True):
        assert torch.equal(one["target"][0], two["target"][0])
        assert torch.equal(one["target"][1], two["target"][1])


def test_samples_that_lie_in_memory_need_no_worker_processes():
    lying, lazy = data(pixels(12), workers=2), data(painted(), workers=2)
    assert lazy.train_dataloader().flattened[0].reading.num_workers == 2
    assert lying.train_dataloader().flattened[0].reading.num_workers == 0


class Listener(LightningModule):
    """Notes the numbers that each training step is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs = {}

    def training_step(self, batch, _):
        noted = self.epochs.setdefault(self.current_epoch, [])
        noted.append({domain: x[:, 0].tolist() for domain, (x, _) in batch.items()})
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def test_lightning_starts_every_epoch_with_an_order_of_its_own(tmp_path):
    module = data(numbered(14), numbered(16, start=1000), **SOURCE)
    listener = Listener()
    Trainer(
        max_epochs=3,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    ).fit(listener, datamodule=module)
    for epoch, steps in listener.epochs.items():
        wanted = [{domain: x[:, 0].tolist() for domain, (x, _) in batch.items()} for batch in epoch_of(module, epoch)]
        assert steps == wanted
    assert len({str(steps) for steps in listener.epochs.values()}) == 3
