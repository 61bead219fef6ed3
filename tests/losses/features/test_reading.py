import pytest
import torch
from feature_nets import IMAGES, SERIES, of_ids, of_images, of_series, of_vectors
from torch import nn

from transferlab.backbones.looking import outputs
from transferlab.errors import InputError
from transferlab.losses.features.pairs import aligned, plain
from transferlab.losses.features.reading import readable, sizes

KEY = "strategy.losses.fitnets.stages"


def test_sizes_are_positions_and_features():
    assert sizes(of_images()[0], IMAGES) == {"block1": (16, 3), "block2": (4, 4), "pool": (1, 4)}
    assert sizes(of_series()[0], SERIES) == {"block1": (4, 3), "block2": (2, 4), "pool": (1, 4)}
    assert sizes(of_vectors()[0], IMAGES) == {"layer1": (1, 5), "layer2": (1, 4)}
    assert sizes(of_ids()[0], torch.zeros(2, 2, dtype=torch.long)) == {"items": (1, 8)}  # users gives a pair


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training):
    backbone = of_images()[0].train(training)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    found = outputs(backbone, torch.randn(4, 1, 8, 8), ["block1"])
    assert list(found) == ["block1"] and not found["block1"].requires_grad
    assert backbone.training is training
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_by_default_all_stages_with_parameters_and_one_value_are_read():
    backbone = of_images()[0]
    assert readable(None, backbone, IMAGES, KEY) == ("block1", "block2")
    assert readable(["pool", 0], backbone, IMAGES, KEY) == ("block1", "pool")
    assert readable(None, of_ids()[0], torch.zeros(2, 2, dtype=torch.long), KEY) == ("items",)


def test_where_none_of_these_will_do_the_last_stage_is_read():
    backbone = of_images()[0]
    backbone.net.block1, backbone.net.block2 = nn.Identity(), nn.Identity()  # nothing is left to train
    assert readable(None, backbone, IMAGES, KEY) == ("pool",)
    with pytest.raises(InputError, match=r"stage 'pool'.*those that do: block1, block2"):
        readable(None, backbone, IMAGES, KEY, least=2)


def test_maps_sequences_and_vectors_are_told_apart():
    backbone = of_images()[0]
    assert plain(backbone, torch.zeros(2, 4)).shape == (2, 4)
    assert plain(backbone, torch.zeros(2, 4, 3, 3)).shape == (2, 4, 3, 3)
    assert plain(backbone, SERIES) is SERIES
    with pytest.raises(InputError, match="gives no maps"):
        plain(backbone, (torch.zeros(2, 4), torch.zeros(2)))


def test_maps_meet_on_the_coarser_grid_of_each_side():
    own, other, mask = aligned(torch.ones(2, 3, 8, 2), torch.ones(2, 5, 4, 6), "fitnets")
    assert own.shape == (2, 8, 3) and other.shape == (2, 8, 5) and mask.shape == (2, 8) and mask.all()
    torch.testing.assert_close(own, torch.ones(2, 8, 3))
