import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.losses.outputs.source_task import SourceTask
from transferlab.tasks.classification import Classification
from transferlab.tasks.labels import fitted
from transferlab.tasks.reconstruction import Reconstruction
from transferlab.tasks.regression import Regression

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return mlp(ArrayInput.of(6), [5]), nn.Linear(5, 3)


def setting(net, **classes):
    return Setting(*net, TASK, classes, torch.zeros(2, 6), True)


def step(net, *domains, classes=3):
    backbone, head = net
    generator = torch.Generator().manual_seed(1)
    observed = {}
    for domain in domains:
        x, y = torch.randn(8, 6, generator=generator), torch.randint(classes, (8,), generator=generator)
        features = backbone(x)
        observed[domain] = Observation(x, y, {}, features, head(features))
    return Step(backbone, head, TASK, observed)


def test_it_reads_the_source_alone():
    assert SourceTask(1.0, "shared").reads == {"source"}


def test_with_a_shared_head_it_is_the_targets_head_on_the_source(net):
    loss = SourceTask(1.0, "shared")
    loss.prepare(setting(net, target=3, source=3))
    present = step(net, "target", "source")
    x, y = present.observed["source"].x, present.observed["source"].y
    weight, bias = net[0].net.layer1[0].weight, net[0].net.layer1[0].bias
    expected = F.cross_entropy(net[1](F.relu(x @ weight.T + bias)), y)
    torch.testing.assert_close(loss(present), expected)
    assert not list(loss.parameters())


def test_with_its_own_head_it_leaves_the_targets_head_alone(net):
    loss = SourceTask(1.0, "own")
    loss.prepare(setting(net, target=3, source=7))
    present = step(net, "target", "source", classes=7)
    source = present.observed["source"]
    value = loss(present)
    torch.testing.assert_close(value, F.cross_entropy(F.linear(source.features, *loss.head.parameters()), source.y))
    value.backward()
    assert all(p.grad is None for p in net[1].parameters())
    assert all(p.grad is not None for p in (*net[0].parameters(), *loss.head.parameters()))


@pytest.mark.parametrize("classes", [3, 7])
def test_its_own_head_has_the_sources_classes_and_is_in_the_state_dict(net, classes):
    loss = SourceTask(1.0, "own")
    loss.prepare(setting(net, target=3, source=classes))
    assert {key: tuple(value.shape) for key, value in loss.state_dict().items()} == {
        "head.weight": (classes, 5),
        "head.bias": (classes,),
    }


def test_its_own_head_survives_a_reload(net):
    first, second = SourceTask(1.0, "own"), SourceTask(1.0, "own")
    for loss in (first, second):
        loss.prepare(setting(net, target=3, source=7))
    present = step(net, "target", "source", classes=7)
    assert first(present) != second(present)
    second.load_state_dict(first.state_dict())
    assert first(present) == second(present)


def test_a_shared_head_over_different_classes_raises_with_the_remedy(net):
    with pytest.raises(InputError, match=r"source has 7, the target 3; set .*head=own"):
        SourceTask(1.0, "shared").prepare(setting(net, target=3, source=7))


@pytest.mark.parametrize("head", ["shared", "own"])
def test_a_source_without_data_raises(net, head):
    with pytest.raises(InputError, match="'source_task' reads source data"):
        SourceTask(1.0, head).prepare(setting(net, target=3))


@pytest.mark.parametrize("head", ["shared", "own"])
def test_a_batch_without_the_source_raises_and_never_gives_0(net, head):
    loss = SourceTask(1.0, head)
    loss.prepare(setting(net, target=3, source=3))
    with pytest.raises(InputError, match="loss 'source_task' reads the domain 'source'"):
        loss(step(net, "target"))


def test_another_word_for_the_head_raises():
    with pytest.raises(InputError, match="head=both: 'shared' or 'own'"):
        SourceTask(1.0, "both")


def test_with_its_own_head_it_sees_the_source_in_the_sources_own_unit(net):
    y = torch.tensor([100.0, 300.0])
    task = Regression(nn.Linear, "r2", "squared")
    tasks = {"target": fitted(task, y / 1000, 1), "source": fitted(task, y, 1)}
    loss = SourceTask(1.0, "own")
    shown = Setting(*net, tasks["target"], {"target": 1, "source": 1}, torch.zeros(2, 6), True, tasks["source"])
    loss.prepare(shown)
    observed = Observation(torch.zeros(2, 6), y, {}, torch.zeros(2, 5), torch.zeros(2, 1))
    present = Step(*net, tasks["target"], {"target": observed, "source": observed})
    torch.testing.assert_close(loss(present), tasks["source"].loss(loss.head(torch.zeros(2, 5)), y))
    assert float(loss.head.mean) == 200


def test_a_shared_decoder_rebuilds_the_inputs_of_any_classes(net):
    task = Reconstruction(nn.Linear, "mean_squared_error")
    SourceTask(1.0, "shared").prepare(Setting(*net, task, {"target": 3, "source": 7}, torch.zeros(2, 6), True))


class Reads(nn.Module):
    """A head on the outputs of the first stage."""

    reads = ("layer1",)

    def forward(self, outputs):
        return outputs[0][:, :3]


def test_its_own_head_gets_the_stages_that_it_reads(net):
    loss = SourceTask(1.0, "own")
    loss.prepare(
        Setting(
            *net,
            Classification(lambda *_: Reads(), "accuracy", None, 0.0, 0.0, "cross_entropy"),
            {"source": 3},
            None,
            True,
        )
    )
    assert loss.activations == ("layer1",)
    kept, y = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    observed = Observation(torch.zeros(4, 6), y, {"layer1": kept}, torch.zeros(4, 5), None)
    expected = F.cross_entropy(kept[:, :3], y)
    torch.testing.assert_close(loss(Step(*net, TASK, {"source": observed})), expected)
