from copy import deepcopy
from functools import partial
from math import cos, exp, pi

import pytest
import torch
import torchvision
from pytorch_lightning import Callback, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from transferlab.backbones.small import convnet
from transferlab.backbones.torchvision import resnet
from transferlab.errors import DivergedError
from transferlab.freezing import chain_thaw, full, gradual_unfreezing, linear_probe
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Setting
from transferlab.losses.outputs.source_task import SourceTask
from transferlab.losses.weight import ramp
from transferlab.losses.weights.l2_sp import L2SP
from transferlab.module import TransferModule
from transferlab.optim import Schedule, cosine
from transferlab.strategy import Strategy
from transferlab.tasks.classification import Classification

LR = 0.1
STEPS = 3
CLASSES = 3
STAGES = ("block1", "block2", "head")


class Plain(nn.Module):
    """What `convnet` and a linear head are, written out."""

    def __init__(self, source_classes=0):
        super().__init__()
        self.block1 = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.block2 = nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Linear(6, CLASSES)
        if source_classes:
            self.source_head = nn.Linear(6, source_classes)

    def features(self, x):
        return self.block2(self.block1(x)).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


class Rates(Callback):
    """The learning rates with which each step is made."""

    def __init__(self):
        self.rows = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rows.append({group["name"]: group["lr"] for group in optimizer.param_groups})


def sgd(weight_decay=0.01):
    return partial(torch.optim.SGD, lr=LR, momentum=0.9, weight_decay=weight_decay)


def batches(count=STEPS, domains=("target",), size=8, shape=(2, 8, 8), classes=CLASSES):
    generator = torch.Generator().manual_seed(7)
    return [
        {
            domain: (
                torch.randn(size, *shape, generator=generator),
                torch.randint(classes, (size,), generator=generator),
            )
            for domain in domains
        }
        for _ in range(count)
    ]


def warmed(backbone):
    """BatchNorm off its first values, as a source would leave it."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return backbone


def transfer_module(
    freezing=full,
    losses=None,
    lr_decay=1.0,
    optimizer=None,
    backbone=None,
    clock="per_stage",
    frozen_batchnorm="still",
    source_classes=CLASSES,
):
    torch.manual_seed(3)
    backbone = warmed(backbone or convnet(ArrayInput.of(2, 8, 8), [4, 6]))
    task = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
    example = torch.zeros(2, 2, 8, 8)  # of which neither head nor losses make anything here
    head = task.build_head(backbone, CLASSES, example)
    losses = losses or {}
    for loss in losses.values():
        loss.prepare(Setting(backbone, head, task, {"target": CLASSES, "source": source_classes}, example, True))
    strategy = Strategy(
        freezing, losses, "source", "new", lr_decay, frozen_batchnorm, None, {}, None, None, None, "used", None
    )
    schedule = Schedule(cosine, 0.0, clock)
    return TransferModule(backbone, head, task, strategy, optimizer or sgd(), schedule, CLASSES, seed=0)


def fit(module, data, folder, epochs=1, callbacks=(), validation=()):
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
        callbacks=list(callbacks),
        num_sanity_val_steps=1,
        val_check_interval=1,
    )
    validation = DataLoader([batch["target"] for batch in validation], batch_size=None) if validation else None
    trainer.fit(module, DataLoader(data, batch_size=None), validation)
    return trainer


def plain_of(module, **options):
    """The plain net with the weights that the module starts from."""
    net = Plain(**options)
    state = {key.removeprefix("backbone.net."): value for key, value in module.state_dict().items()}
    state = {key.replace("losses.source_task.head.", "source_head."): value for key, value in state.items()}
    wanted = net.state_dict()
    net.load_state_dict({key: state[key].clone() for key in wanted})
    return net


def half_cosine(share):
    return (1 + cos(pi * share)) / 2


def set_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


def assert_same_weights(module, net):
    state = {key.removeprefix("backbone.net."): value for key, value in module.state_dict().items()}
    state = {key.replace("losses.source_task.head.", "source_head."): value for key, value in state.items()}
    for key, value in net.state_dict().items():
        torch.testing.assert_close(state[key], value, rtol=0, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


def moved(before, after):
    return {key for key, value in after.items() if not torch.equal(value, before[key])}


def snapshot(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize(
    "optimizer", [sgd(), partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)], ids=["sgd", "adamw"]
)
def test_full_fine_tuning_is_a_plain_training_loop(tmp_path, optimizer):
    module, data = transfer_module(optimizer=optimizer), batches()
    before, net = snapshot(module), plain_of(module)
    fit(module, data, tmp_path)

    plain = optimizer(net.parameters())
    for step, batch in enumerate(data):
        x, y = batch["target"]
        set_rate(plain, optimizer.keywords["lr"] * half_cosine(step / STEPS))
        plain.zero_grad()
        F.cross_entropy(net(x), y).backward()
        plain.step()
    assert_same_weights(module, net)
    assert moved(before, module.state_dict()) == set(before)


def test_full_fine_tuning_of_a_resnet_is_a_plain_training_loop(tmp_path):
    backbone = resnet(ArrayInput.of(3, 32, 32), "resnet18")
    module, data = transfer_module(backbone=backbone), batches(size=4, shape=(3, 32, 32))
    net = torchvision.models.resnet18(num_classes=CLASSES)
    state = {key.removeprefix("backbone.net."): value.clone() for key, value in module.state_dict().items()}
    net.load_state_dict({key.replace("head.", "fc."): value for key, value in state.items()})
    fit(module, data, tmp_path)

    plain = sgd()(net.parameters())
    for step, batch in enumerate(data):
        x, y = batch["target"]
        set_rate(plain, LR * half_cosine(step / STEPS))
        plain.zero_grad()
        F.cross_entropy(net(x), y).backward()
        plain.step()
    expected = net.state_dict()
    for key, value in module.state_dict().items():
        name = key.removeprefix("backbone.net.").replace("head.", "fc.")
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


def test_a_linear_probe_is_logistic_regression_on_the_features_of_evaluation_mode(tmp_path):
    module, data = transfer_module(linear_probe), batches()
    net = plain_of(module).eval()
    fit(module, data, tmp_path)

    plain = sgd()(net.head.parameters())
    for step, batch in enumerate(data):
        x, y = batch["target"]
        with torch.no_grad():
            features = net.features(x)
        set_rate(plain, LR * half_cosine(step / STEPS))
        plain.zero_grad()
        F.cross_entropy(net.head(features), y).backward()
        plain.step()
    # running statistics among them
    assert_same_weights(module, net)


@pytest.mark.parametrize(
    "build", [None, lambda: resnet(ArrayInput.of(3, 32, 32), "resnet18")], ids=["convnet", "resnet"]
)
def test_a_linear_probe_changes_no_tensor_of_the_backbone_bit_for_bit(tmp_path, build):
    shape = (2, 8, 8) if build is None else (3, 32, 32)
    module = transfer_module(linear_probe, backbone=build and build())
    before = snapshot(module)
    fit(module, batches(shape=shape), tmp_path, epochs=2, validation=batches(1, shape=shape))
    assert moved(before, module.state_dict()) == {"head.weight", "head.bias"}


def test_with_frozen_batchnorm_that_trains_a_linear_probe_moves_batchnorm_and_the_head_alone(tmp_path):
    module = transfer_module(linear_probe, frozen_batchnorm="trains")
    before = snapshot(module)
    fit(module, batches(), tmp_path)
    batchnorm = {key for key in before if key.startswith(("backbone.net.block1.1.", "backbone.net.block2.1."))}
    assert moved(before, module.state_dict()) == batchnorm | {"head.weight", "head.bias"}


def test_frozen_batchnorm_that_trains_is_a_plain_loop_over_batchnorm_and_the_head(tmp_path):
    module, data = transfer_module(linear_probe, frozen_batchnorm="trains"), batches()
    net = plain_of(module)
    fit(module, data, tmp_path)

    plain = sgd()([*net.block1[1].parameters(), *net.block2[1].parameters(), *net.head.parameters()])
    for step, batch in enumerate(data):
        x, y = batch["target"]
        set_rate(plain, LR * half_cosine(step / STEPS))
        plain.zero_grad()
        F.cross_entropy(net(x), y).backward()
        plain.step()
    assert_same_weights(module, net)


def test_l2_sp_adds_its_gradient_and_switches_weight_decay_off(tmp_path):
    alpha, beta, weight = 0.3, 0.07, 0.5
    module = transfer_module(losses={"l2_sp": L2SP(weight, alpha, beta)}, optimizer=sgd(weight_decay=0.4))
    data, net = batches(), plain_of(module)
    start = deepcopy(net)
    fit(module, data, tmp_path)

    plain = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)
    for step, batch in enumerate(data):
        x, y = batch["target"]
        set_rate(plain, LR * half_cosine(step / STEPS))
        plain.zero_grad()
        F.cross_entropy(net(x), y).backward()
        with torch.no_grad():
            for (name, p), p0 in zip(net.named_parameters(), start.parameters(), strict=True):
                p.grad += weight * (beta * p if name.startswith("head") else alpha * (p - p0))
        plain.step()
    assert_same_weights(module, net)


def test_discriminative_rates_halve_from_stage_to_stage_below_the_head(tmp_path):
    module, data = transfer_module(lr_decay=0.5), batches()
    net = plain_of(module)
    fit(module, data, tmp_path)

    rates = {"head": LR, "block2": LR / 2, "block1": LR / 4}
    parts = {stage: sgd()(getattr(net, stage).parameters()) for stage in rates}
    for step, batch in enumerate(data):
        x, y = batch["target"]
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        for stage, plain in parts.items():
            set_rate(plain, rates[stage] * half_cosine(step / STEPS))
            plain.step()
    assert_same_weights(module, net)


def frozen_loop(net, data, epochs, trains, starts):
    """A plain loop that trains the stages of `trains[epoch]`, each on a half cosine from its entry in `starts`."""
    steps = epochs * len(data)
    parts = {stage: sgd()(getattr(net, stage).parameters()) for stage in STAGES}
    for epoch in range(epochs):
        for stage in STAGES:
            getattr(net, stage).requires_grad_(stage in trains[epoch]).train(stage in trains[epoch])
        for index, batch in enumerate(data):
            x, y = batch["target"]
            step = epoch * len(data) + index
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            for stage in trains[epoch]:
                share = (step - starts[stage]) / (steps - starts[stage])
                set_rate(parts[stage], LR * half_cosine(share))
                parts[stage].step()


@pytest.mark.parametrize(
    ("clock", "starts"),
    [("per_stage", {"head": 0, "block2": 3, "block1": 6}), ("global", {"head": 0, "block2": 0, "block1": 0})],
)
def test_gradual_unfreezing_trains_one_stage_more_an_epoch(tmp_path, clock, starts):
    module, data = transfer_module(partial(gradual_unfreezing, every=1), clock=clock), batches()
    net = plain_of(module)
    fit(module, data, tmp_path, epochs=3)
    frozen_loop(net, data, 3, [["head"], ["block2", "head"], ["block1", "block2", "head"]], starts)
    assert_same_weights(module, net)


def test_validation_within_an_epoch_changes_no_weight(tmp_path):
    found = []
    for validation in ((), batches(2)):
        module = transfer_module(partial(gradual_unfreezing, every=1))
        fit(module, batches(), tmp_path, epochs=3, validation=validation)
        found.append(snapshot(module))
    assert not moved(*found)


def test_a_stage_that_is_frozen_again_stays_though_momentum_is_left(tmp_path):
    module, data = transfer_module(partial(chain_thaw, every=1)), batches()
    net = plain_of(module)
    fit(module, data, tmp_path, epochs=4)
    trains = [["head"], ["block1"], ["block2"], ["block1", "block2", "head"]]
    frozen_loop(net, data, 4, trains, {"head": 0, "block1": 3, "block2": 6})
    assert_same_weights(module, net)


def test_the_stage_unfrozen_last_begins_at_its_full_rate(tmp_path):
    rates = Rates()
    module = transfer_module(partial(gradual_unfreezing, every=1), lr_decay=0.5)
    fit(module, batches(), tmp_path, epochs=3, callbacks=[rates])
    assert [row["backbone/block1"] for row in rates.rows[:6]] == [0.0] * 6
    assert rates.rows[3]["backbone/block2"] == pytest.approx(LR / 2)
    assert rates.rows[6]["backbone/block1"] == pytest.approx(LR / 4)
    assert [row["head"] for row in rates.rows] == pytest.approx([LR * half_cosine(step / 9) for step in range(9)])


@pytest.mark.parametrize("head", ["shared", "own"])
@pytest.mark.parametrize(
    ("weight", "weight_at"),
    [(0.4, lambda progress: 0.4), (partial(ramp, high=1.0, gamma=10.0), lambda p: 2 / (1 + exp(-10 * p)) - 1)],
    ids=["constant", "ramp"],
)
def test_joint_training_adds_the_weighted_loss_of_the_source(tmp_path, head, weight, weight_at):
    module = transfer_module(losses={"source_task": SourceTask(weight, head)})
    data = batches(domains=("target", "source"))
    net = plain_of(module, source_classes=CLASSES if head == "own" else 0)
    fit(module, data, tmp_path)

    plain = sgd()(net.parameters())
    for step, batch in enumerate(data):
        (x, y), (source_x, source_y) = batch["target"], batch["source"]
        set_rate(plain, LR * half_cosine(step / STEPS))
        plain.zero_grad()
        source_head = net.source_head if head == "own" else net.head
        task = F.cross_entropy(net(x), y)
        source = F.cross_entropy(source_head(net.features(source_x)), source_y)
        (task + weight_at(step / STEPS) * source).backward()
        plain.step()
    assert_same_weights(module, net)


def test_every_term_is_logged_as_the_mean_of_the_epochs_steps(tmp_path):
    losses = {"source_task": SourceTask(0.4, "shared"), "l2_sp": L2SP(0.5, 0.3, 0.07)}
    module = transfer_module(linear_probe, losses=losses, optimizer=partial(torch.optim.SGD, lr=1e-12))
    data = batches(domains=("target", "source"))
    net = plain_of(module).eval()
    trainer = fit(module, data, tmp_path)
    expected = {
        "train/task_loss": sum(F.cross_entropy(net(b["target"][0]), b["target"][1]) for b in data) / STEPS,
        "train/source_task_loss": 0.4 * sum(F.cross_entropy(net(b["source"][0]), b["source"][1]) for b in data) / STEPS,
        "train/l2_sp_loss": 0.5 * 0.035 * sum(p.square().sum() for p in net.head.parameters()),
    }
    assert set(trainer.callback_metrics) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(trainer.callback_metrics[name], value.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("position", [0, 2])
def test_a_loss_that_is_no_number_ends_the_run_in_its_epoch(tmp_path, bad, position):
    data = batches()
    data[position]["target"][0][0, 0, 0, 0] = bad
    with pytest.raises(DivergedError, match="in epoch 0"):
        fit(transfer_module(), data, tmp_path, epochs=2)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(tmp_path):
    found = []
    for noise in (1, 2):
        module = transfer_module()
        torch.manual_seed(noise)
        fit(module, batches(), tmp_path)
        found.append(snapshot(module))
    assert not moved(*found)
