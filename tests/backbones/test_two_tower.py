import pickle

import pytest
import torch
from safetensors.torch import save_file

from transferlab.backbones.recurrent import recurrent
from transferlab.backbones.small import convnet, mlp
from transferlab.backbones.two_tower import two_tower
from transferlab.backbones.weights import load
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.pair import PairInput
from transferlab.inputs.text import TextInput
from transferlab.values import Pair

INPUT = PairInput(ArrayInput.of(1, 8, 8), TextInput("words", 50, 8))


def text_tower():
    return recurrent(
        INPUT.second, "lstm", hidden=6, layers=2, bidirectional=False, dropout=0.1, pooling="last", embedding=5
    )


def build(seed=0):
    torch.manual_seed(seed)
    return two_tower(INPUT, convnet(INPUT.first, [3, 4]), text_tower())


@pytest.fixture
def net():
    return build().eval()


def test_features_are_both_towers_own_side_by_side(net):
    x = INPUT.example(3)
    image, text = net(x).split(net.net.widths, 1)
    torch.testing.assert_close(image, net.net.image(x.first), rtol=0, atol=0)
    torch.testing.assert_close(text, net.net.text(x.second), rtol=0, atol=0)
    assert net.features == 4 + 6


def test_stages_are_the_towers_own_under_their_names(net):
    names = [f"text.{name}" for name in net.net.text.stages] + [f"image.{name}" for name in net.net.image.stages]
    assert net.stages == (*names, "join")


def test_it_is_entered_at_every_stage(net):
    x = INPUT.example(3)
    whole, kept = net.observe(x, net.stages)
    for before, after in zip(net.stages, net.stages[1:], strict=False):
        torch.testing.assert_close(net(kept[before], start=after), whole, rtol=0, atol=0)


def test_a_tower_that_is_frozen_gets_no_gradient_and_draws_no_dropout(net):
    net.train()
    net.set_trainable([name for name in net.stages if name.startswith("image.")])
    x = INPUT.example(3)
    first, second = net(x), net(x)
    torch.testing.assert_close(first[:, 4:], second[:, 4:], rtol=0, atol=0)
    first.sum().backward()
    assert all(p.grad is None for p in net.net.text.parameters())
    assert all(p.grad is not None for p in net.net.image.parameters())


def test_an_image_says_nothing_about_a_texts_features(net):
    x = INPUT.example(3)
    other = net(Pair(x.first + 1, x.second))
    torch.testing.assert_close(other[:, 4:], net(x)[:, 4:], rtol=0, atol=0)
    assert (other[:, :4] != net(x)[:, :4]).any()


def test_each_tower_takes_weights_of_its_own_origin_or_none(net, tmp_path):
    published = build(1)
    save_file(published.net.image.net.state_dict(), tmp_path / "image.safetensors")
    save_file(published.net.text.net.state_dict(), tmp_path / "text.safetensors")
    before = {key: value.clone() for key, value in net.net.text.state_dict().items()}
    load(net, f"towers:{tmp_path / 'image.safetensors'}|None")
    for key, value in published.net.image.state_dict().items():
        assert torch.equal(net.net.image.state_dict()[key], value)
    assert all(torch.equal(net.net.text.state_dict()[key], value) for key, value in before.items())
    load(net, f"towers:None|{tmp_path / 'text.safetensors'}")
    x = INPUT.example(2)
    torch.testing.assert_close(net(x), published.eval()(x), rtol=0, atol=0)


def test_a_run_of_its_own_is_read_again(net, tmp_path):
    other = build(1).eval()
    torch.save({f"backbone.{key}": value for key, value in other.state_dict().items()}, tmp_path / "selected.pt")
    load(net, str(tmp_path / "selected.pt"))
    torch.testing.assert_close(net(INPUT.example(2)), other(INPUT.example(2)), rtol=0, atol=0)


def test_it_can_be_sent_to_another_process(net):
    x = INPUT.example(2)
    torch.testing.assert_close(pickle.loads(pickle.dumps(net))(x), net(x), rtol=0, atol=0)


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="takes pairs, its input gives images"):
        two_tower(INPUT.first, convnet(INPUT.first, [3]), text_tower())
    with pytest.raises(InputError, match="this one is 'mlp'"):
        load(mlp(ArrayInput.of(4), [3]), "towers:a|b")
