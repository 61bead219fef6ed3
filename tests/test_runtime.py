"""How a run is computed changes its numbers by round-off at most, alike every time, and is none of what it is."""

import contextlib
import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from torch import nn
from torch.utils import deterministic

from transferlab import cli, pretraining, results, runtime
from transferlab.backbones import torchvision
from transferlab.backbones.small import convnet, mlp
from transferlab.backbones.timm import named
from transferlab.composing import Composer
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.module import TransferModule

INPUT = ArrayInput.of(3, 32, 32)
NETS = {
    "convnet": lambda: convnet(INPUT, [8, 16]),
    "resnet18": lambda: torchvision.resnet(INPUT, "resnet18"),
    "mobilenet_v2": lambda: torchvision.mobilenet_v2(INPUT, "mobilenet_v2"),
    "efficientnet_lite0": lambda: named(INPUT, "tf_efficientnet_lite0"),
    "convnext_atto": lambda: named(INPUT, "convnext_atto"),
    "vit_tiny": lambda: named(INPUT, "vit_tiny_patch16_224"),
}
TINY = ["source=digits", "target=digits", "target.labels=6", "batch_size=16", "trainer.max_epochs=2", "tracker=none"]
TINY += ["source.pretrain.max_epochs=1", "source.pretrain.target.labels=10"]
TINY += ["backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]"]


class Allocator:
    """glibc as far as we call it."""

    def __init__(self, most=1 << 31):
        self.most, self.calls = most, []

    def mallopt(self, parameter, value):
        self.calls.append((parameter, value))
        return int(parameter != -3 or value <= self.most)

    def malloc_trim(self, pad):
        self.calls.append("trim")


@pytest.fixture
def fake(monkeypatch):
    found = Allocator()
    monkeypatch.setattr(runtime, "_kept", False)
    monkeypatch.setattr(runtime, "_glibc", lambda: found)
    for name in (*runtime._VARIABLES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    return found


# memory


def test_the_process_is_told_once_to_keep_what_it_frees(fake):
    assert [runtime.allocator("auto") for _ in range(2)] == ["kept", "kept"]
    assert sorted(parameter for parameter, _ in fake.calls) == [-3, -2, -1]


def test_a_smaller_threshold_is_taken_where_the_large_one_is_refused(fake):
    fake.most = 32 << 20
    assert runtime.allocator("auto") == "kept"
    assert [value for parameter, value in fake.calls if parameter == -3] == [1 << 30, 32 << 20]


def test_where_every_threshold_is_refused_nothing_else_is_changed(fake):
    fake.most = 0
    assert runtime.allocator("auto") == "system"
    assert {parameter for parameter, _ in fake.calls} == {-3}


def test_the_systems_allocator_is_left_alone(fake):
    assert runtime.allocator("system") == "system"
    runtime.give_back()
    assert fake.calls == []


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "0"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=4096")]
)
def test_what_a_user_told_the_allocator_stays(name, value, fake, monkeypatch):
    monkeypatch.setenv(name, value)
    assert runtime.allocator("auto") == "system"
    assert fake.calls == []


def test_tunables_of_something_else_are_no_word_about_the_allocator(fake, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
    assert runtime.allocator("auto") == "kept"


def test_another_allocator_is_left_alone(fake, monkeypatch):
    monkeypatch.setattr(runtime, "_glibc", lambda: None)
    assert runtime.allocator("auto") == "system"


def test_a_run_leaves_new_memory_unfilled_and_gives_the_setting_back(tmp_path, monkeypatch):
    seen = []
    step = TransferModule.training_step

    def noted(*given):
        seen.append((torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory))
        return step(*given)

    monkeypatch.setattr(TransferModule, "training_step", noted)
    assert deterministic.fill_uninitialized_memory
    _, unfilled = run(tmp_path, "unfilled")
    assert set(seen) == {(True, False)} and deterministic.fill_uninitialized_memory
    monkeypatch.setattr(runtime, "unfilled", contextlib.nullcontext)
    _, filled = run(tmp_path, "filled")
    assert seen[-1] == (True, True)
    assert all(torch.equal(value, filled[key]) for key, value in unfilled.items())


def test_a_run_that_fails_gives_the_setting_back_too():
    with contextlib.suppress(InputError), runtime.unfilled():
        assert not deterministic.fill_uninitialized_memory
        raise InputError("failed")
    assert deterministic.fill_uninitialized_memory


FAULTS = """
import resource, sys
import torch
from transferlab import runtime

print(runtime.allocator(sys.argv[1]))
(torch.ones(12 << 20) + 1).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    (torch.ones(12 << 20) + 1).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def glibc() -> bool:
    return runtime._glibc() is not None and not runtime._set_by_user()


def printed(code: str, *words: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.skipif(not glibc(), reason="the allocator is not glibc's, or is set from outside")
def test_kept_memory_is_faulted_in_less_often():
    state, faults = printed(FAULTS, "system")
    kept, few = printed(FAULTS, "auto")
    assert (state, kept) == ("system", "kept")
    # glibc before 2.38 reuses an aligned block of the same size only every other time
    assert int(few) < 0.7 * int(faults)


TWO_RUNS = """
import torch
from transferlab import runtime
from transferlab.environment import environment, peak_memory

runtime.allocator("auto")
held = torch.ones(400 * 2**20 // 4)
during = peak_memory()
del held
environment("cpu")  # the next run of the same process
print(during - peak_memory())
"""


@pytest.mark.skipif(not glibc() or torch.cuda.is_available(), reason="on a GPU its own peak is reported")
def test_what_one_run_freed_is_no_part_of_the_peak_of_the_next():
    (fell,) = printed(TWO_RUNS)
    assert int(fell) > 300 << 20


# layout


def trained(net, kind, steps=5):
    """What the parameters and statistics of a copy are after some steps of SGD."""
    net = copy.deepcopy(net).to(kind).train()
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(kind)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    for step in range(steps):
        torch.manual_seed(step)  # of dropped paths
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    return net.state_dict()


@pytest.fixture(scope="module", params=NETS)
def layouts(request):
    """A net, and the same net channels last."""
    torch.manual_seed(0)
    net = NETS[request.param]()
    laid_out = copy.deepcopy(net)
    assert runtime.channels_last(laid_out, laid_out, True, True)
    return net, laid_out


def test_channels_last_trains_the_same_net(layouts):
    # in float64: BatchNorm over so few values makes much of float32's round-off
    first, last = (trained(net, torch.float64) for net in layouts)
    for key, value in first.items():
        torch.testing.assert_close(last[key], value, rtol=1e-6, atol=1e-8, msg=key)


def test_channels_last_gives_float32_features_to_round_off(layouts):
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        first, last = (net.eval()(x) for net in layouts)
    torch.testing.assert_close(last, first, rtol=1e-4, atol=1e-5)


def test_channels_last_is_the_same_bit_for_bit_every_time(layouts):
    one, other = (trained(layouts[1], torch.float32, steps=2) for _ in range(2))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_channels_last_changes_no_value_and_no_name(layouts):
    first, last = (net.state_dict() for net in layouts)
    assert first.keys() == last.keys()
    for key, value in first.items():
        assert torch.equal(value, last[key])
        assert value.ndim != 4 or last[key].is_contiguous(memory_format=torch.channels_last)


def test_maps_stay_channels_last_from_the_first_convolution_on():
    net = NETS["resnet18"]()
    runtime.channels_last(net, net, True, True)
    _, kept = net.observe(INPUT.example(2), ["stem", "layer2"])
    assert all(maps.is_contiguous(memory_format=torch.channels_last) for maps in kept.values())


@pytest.mark.parametrize(("net", "chosen"), [("resnet18", True), ("efficientnet_lite0", True), ("vit_tiny", False)])
def test_auto_asks_for_batchnorm_on_the_cpu(net, chosen):
    net = NETS[net]()
    assert runtime.channels_last(net, net, "auto", on_cpu=True) is chosen
    assert runtime.channels_last(net, net, "auto", on_cpu=False) is False


def test_auto_leaves_a_net_without_images_alone():
    net = mlp(ArrayInput.of(4), [8])
    assert runtime.channels_last(net, net, "auto", on_cpu=True) is False


def test_false_leaves_the_weights_as_they_are():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert runtime.channels_last(net, net, False, on_cpu=True) is False
    assert net[0].weight.is_contiguous()


# threads


def test_threads_are_as_asked_within_and_as_before_afterwards():
    before = torch.get_num_threads()
    with runtime.threads(before + 1) as number:
        assert number == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("cores", [1, 64])
def test_auto_takes_no_more_threads_than_cores_and_never_more_than_torch(cores, monkeypatch):
    monkeypatch.setattr(runtime, "usable_cores", lambda: cores)
    with runtime.threads(3), runtime.threads("auto") as number:
        assert number == min(cores, 3)


# runs


def run(runs: Path, study: str, *words: str) -> tuple[dict, dict]:
    """A run's record and its last weights."""
    assert cli.main(["train", *TINY, *words, f"study={study}", f"paths.runs={runs}"]) == 0
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text()), torch.load(file.with_name("last.pt"), weights_only=True)


# whole, a teacher that is a copy of the net, modules put into it, a head that takes maps
WORDS = {
    "joint": ["strategy=joint"],
    "kd": ["strategy=kd"],
    "residual_adapter": ["strategy=residual_adapter"],
}


@pytest.mark.parametrize("key", ["channels_last", "fused"])
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_run_is_the_same_in_both_layouts_and_steps_to_round_off(words, key, tmp_path):
    (first, plain), (last, laid_out) = (
        run(tmp_path, str(chosen), *words, f"trainer.{key}={chosen}") for chosen in (False, True)
    )
    assert first["run_id"] == last["run_id"]
    assert [record["environment"]["runtime"][key] for record in (first, last)] == [False, True]
    assert plain.keys() == laid_out.keys()
    for name, value in plain.items():
        torch.testing.assert_close(laid_out[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_the_same_command_gives_the_same_weights_bit_for_bit(tmp_path):
    (_, one), (_, other) = (run(tmp_path, study) for study in ("one", "other"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_what_was_chosen_is_in_the_record_and_in_the_log(tmp_path, capsys):
    record, _ = run(tmp_path, "s", "trainer.threads=2", "trainer.channels_last=false")
    chosen = record["environment"]["runtime"]
    assert chosen == {"threads": 2, "channels_last": False, "fused": True, "allocator": runtime.allocator("system")}
    assert record["environment"]["threads"] == 2
    assert capsys.readouterr().err.count(runtime.said(chosen)) == 2  # the source's run has the same trainer


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.allocator=jemalloc", "trainer.allocator=jemalloc: 'auto' or 'system'"),
        ("trainer.channels_last=yes", "trainer.channels_last=yes: 'auto' or 'true' or 'false'"),
        ("trainer.channels_last=null", "trainer.channels_last=None: auto, true or false"),
        ("trainer.fused=yes", "trainer.fused=yes: 'auto' or 'true' or 'false'"),
        ("trainer.threads=0", "trainer.threads=0: auto, or a whole number from 1 on"),
        ("trainer.threads=1.5", "trainer.threads=1.5: auto, or a whole number from 1 on"),
        ("trainer.threads=all", "trainer.threads=all: auto, or a whole number from 1 on"),
    ],
)
def test_a_refused_value_says_what_is_allowed(word, said, tmp_path, capsys):
    assert cli.main(["train", *TINY, "strategy=scratch", word, f"paths.runs={tmp_path}"]) == 1
    assert said in capsys.readouterr().err


def test_refused_values_are_refused_in_python_too():
    for ask in (lambda: runtime.allocator("x"), lambda: runtime.channels_last(nn.ReLU(), nn.ReLU(), "x", True)):
        with pytest.raises(InputError):
            ask()


def composed(*words: str):
    with Composer() as composer:
        whole = composer.config(["source=digits", *words])
        HydraConfig.instance().set_config(whole)
        return OmegaConf.create(
            results.portable(OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]))
        )


def test_ids_are_those_of_a_config_without_the_keys():
    today, before = composed(), composed()
    for trainer in (before.trainer, before.source.pretrain.trainer):
        for key in results.COMPUTING:
            del trainer[key]
    assert results.run_id(before) == results.run_id(today)
    assert results.run_id(pretraining.config_of(before)) == results.run_id(pretraining.config_of(today))


def test_how_a_run_is_computed_changes_neither_its_id_nor_its_sources():
    plain = composed()
    for word in ("trainer.allocator=system", "trainer.channels_last=true", "trainer.fused=false", "trainer.threads=3"):
        other = composed(word)
        assert results.run_id(other) == results.run_id(plain)
        assert results.run_id(pretraining.config_of(other)) == results.run_id(pretraining.config_of(plain))
        key, value = word.split("=")
        assert str(OmegaConf.select(other, f"source.pretrain.{key}")).lower() == value
