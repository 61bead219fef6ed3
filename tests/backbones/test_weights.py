import os
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError
from urllib.parse import urlparse

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from transferlab.backbones import weights
from transferlab.backbones.small import convnet
from transferlab.backbones.torchvision import densenet, resnet
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

INPUT = ArrayInput.of(1, 8, 8)
WIDTHS = [3, 4]


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, *args, **kwargs):
        raise URLError("no network in tests")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.fixture
def hub(tmp_path):
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    yield folder
    torch.hub.set_dir(before)


def other():
    """Weights of the same architecture, unlike any fresh net's."""
    net = convnet(INPUT, WIDTHS).net
    for number, value in enumerate(net.state_dict().values()):
        value.fill_(number + 1)
    return {key: value.clone() for key, value in net.state_dict().items()}


def assert_loaded(backbone, state):
    loaded = backbone.net.state_dict()
    assert set(loaded) == set(state)
    for key, value in loaded.items():
        assert torch.equal(value, state[key]), key


def prefixed(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
def test_a_file_of_tensors_arrives(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    torch.save(other(), path)
    backbone = convnet(INPUT, WIDTHS)
    weights.load(backbone, str(path))
    assert_loaded(backbone, other())


def test_safetensors_arrive(tmp_path):
    save_file(other(), tmp_path / "weights.safetensors")
    backbone = convnet(INPUT, WIDTHS)
    weights.load(backbone, str(tmp_path / "weights.safetensors"))
    assert_loaded(backbone, other())


@pytest.mark.parametrize("prefix", ["backbone.net.", "module.", "module.backbone.net.", "net."])
def test_prefixes_of_wrappers_are_taken_off(tmp_path, prefix):
    torch.save(prefixed(prefix, other()), tmp_path / "weights.pt")
    backbone = convnet(INPUT, WIDTHS)
    weights.load(backbone, str(tmp_path / "weights.pt"))
    assert_loaded(backbone, other())


def test_a_run_of_our_own_gives_its_backbone_and_not_its_head(tmp_path):
    head = {"head.weight": torch.zeros(9, 4), "head.bias": torch.zeros(9)}
    torch.save(prefixed("backbone.net.", other()) | head, tmp_path / "selected.pt")
    backbone = convnet(INPUT, WIDTHS)
    weights.load(backbone, str(tmp_path / "selected.pt"))
    assert_loaded(backbone, other())


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_nested_state_dict_is_unpacked(tmp_path, key):
    torch.save({key: other(), "epoch": 3}, tmp_path / "weights.pt")
    backbone = convnet(INPUT, WIDTHS)
    weights.load(backbone, str(tmp_path / "weights.pt"))
    assert_loaded(backbone, other())


def test_a_published_classifier_of_any_size_is_left_out(tmp_path):
    published = torchvision.models.resnet18(num_classes=7)
    torch.save(published.state_dict(), tmp_path / "weights.pt")
    backbone = resnet(ArrayInput.of(3, 32, 32), "resnet18")
    weights.load(backbone, str(tmp_path / "weights.pt"))
    assert_loaded(backbone, {k: v for k, v in published.state_dict().items() if not k.startswith("fc.")})


@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_with_code_is_refused_and_its_code_does_not_run(tmp_path, nested):
    ran = tmp_path / "ran"
    path = tmp_path / "weights.pt"
    state = other() | {"evil": Evil(ran)}
    torch.save({"state_dict": state} if nested else state, path)
    with pytest.raises(InputError, match=r"weights\.pt is refused.*could run code.*safetensors"):
        weights.load(convnet(INPUT, WIDTHS), str(path))
    assert not ran.exists()
    # the file is dangerous indeed
    torch.load(path, weights_only=False)
    assert ran.exists()


def test_a_bare_pickle_with_code_is_refused_and_its_code_does_not_run(tmp_path):
    ran = tmp_path / "ran"
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(Evil(ran)))
    with pytest.raises(InputError, match="is refused"):
        weights.load(convnet(INPUT, WIDTHS), str(path))
    assert not ran.exists()


def test_a_pickle_named_safetensors_is_refused_and_its_code_does_not_run(tmp_path):
    ran = tmp_path / "ran"
    path = tmp_path / "weights.safetensors"
    torch.save(Evil(ran), path)
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        weights.load(convnet(INPUT, WIDTHS), str(path))
    assert not ran.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_cut_off_anywhere_is_refused_with_a_sentence(tmp_path, zipped):
    path = tmp_path / "weights.pt"
    torch.save(other(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is refused: it is damaged"):
            weights.read_tensors(path)


def test_a_damaged_safetensors_file_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(other(), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        weights.read_tensors(path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), {"a": torch.zeros(2), "epoch": 3}, {}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"holds no state_dict|of another architecture"):
        weights.load(convnet(INPUT, WIDTHS), str(tmp_path / "weights.pt"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"source\.weights=.*nowhere\.pt: there is no such file"):
        weights.load(convnet(INPUT, WIDTHS), str(tmp_path / "nowhere.pt"))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        weights.load(convnet(INPUT, WIDTHS), str(tmp_path))


def without(key):
    return {k: v for k, v in other().items() if k != key}


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (lambda: without("block1.0.weight"), r"lacks 1 of \d+ tensors, e\.g\. block1\.0\.weight"),
        (lambda: other() | {"block3.0.weight": torch.zeros(1)}, r"has besides 1 of \d+ tensors, e\.g\. block3"),
        (lambda: other() | {"block1.0.weight": torch.zeros(3, 2, 3, 3)}, r"another shape 1 of \d+ tensors, e\.g\. bl"),
        (lambda: nn.Linear(2, 2).state_dict(), "lacks"),
    ],
    ids=["lacks", "besides", "shape", "nothing in common"],
)
def test_a_checkpoint_of_another_architecture_is_refused_and_changes_nothing(tmp_path, state, problem):
    torch.save(state(), tmp_path / "weights.pt")
    backbone = convnet(INPUT, WIDTHS)
    before = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    with pytest.raises(InputError, match=rf"of another architecture than backbone 'convnet'.*{problem}"):
        weights.load(backbone, str(tmp_path / "weights.pt"))
    assert_loaded(backbone, before)


def published_file(hub):
    return hub / Path(urlparse(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url).path).name


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "DEFAULT"])
def test_weights_of_torchvisions_enum_arrive(hub, name):
    torch.manual_seed(3)
    published = torchvision.models.resnet18()
    torch.save(published.state_dict(), published_file(hub))
    backbone = resnet(ArrayInput.of(3, 32, 32), "resnet18")
    weights.load(backbone, f"torchvision:{name}")
    assert_loaded(backbone, {k: v for k, v in published.state_dict().items() if not k.startswith("fc.")})


FAMILIES = ["resnet*", "resnext*", "wide_resnet*", "vgg*", "densenet*", "mobilenet*", "efficientnet*", "convnext*"]
FAMILIES += ["regnet*", "vit*", "swin*"]


@pytest.mark.parametrize("name", torchvision.models.list_models(torchvision.models, include=FAMILIES))
def test_every_name_of_a_members_enum_leads_to_its_file(hub, name):
    for published in torchvision.models.get_model_weights(name):
        with pytest.raises(InputError, match=re.escape(published.url)):
            weights.load(SimpleNamespace(name=name), f"torchvision:{published.name}")


def test_densenets_older_names_of_layers_are_understood(tmp_path):
    torch.manual_seed(3)
    published = torchvision.models.densenet121().state_dict()
    older = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): published[key] for key in published}
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    torch.save(older, tmp_path / "densenet.pth")
    backbone = densenet(ArrayInput.of(3, 32, 32), "densenet121")
    weights.load(backbone, str(tmp_path / "densenet.pth"))
    assert_loaded(backbone, {k: v for k, v in published.items() if not k.startswith("classifier.")})


def test_batchnorms_counters_start_at_zero_where_an_older_file_has_none(tmp_path):
    published = torchvision.models.resnet18().state_dict()
    older = {key: value for key, value in published.items() if not key.endswith("num_batches_tracked")}
    torch.save(older, tmp_path / "resnet.pth")
    backbone = resnet(ArrayInput.of(3, 32, 32), "resnet18")
    backbone.net.bn1.num_batches_tracked.fill_(7)
    weights.load(backbone, str(tmp_path / "resnet.pth"))
    assert backbone.net.bn1.num_batches_tracked == 0
    assert torch.equal(backbone.net.conv1.weight, published["conv1.weight"])


def test_a_layers_statistics_may_not_be_missing(tmp_path):
    state = without("block1.1.running_var")
    torch.save({k: v for k, v in state.items() if k != "block1.1.num_batches_tracked"}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"it lacks 2 of \d+ tensors, e\.g\. block1\.1\.running_var"):
        weights.load(convnet(INPUT, WIDTHS), str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused_and_change_nothing(tmp_path, value):
    torch.save(other() | {"block1.1.weight": torch.full((3,), value)}, tmp_path / "weights.pt")
    backbone = convnet(INPUT, WIDTHS)
    before = {key: tensor.clone() for key, tensor in backbone.net.state_dict().items()}
    with pytest.raises(InputError, match=r"NaN or infinite numbers in 1 tensors, e\.g\. block1\.1\.weight"):
        weights.load(backbone, str(tmp_path / "weights.pt"))
    assert_loaded(backbone, before)


def test_published_weights_for_colour_go_into_a_net_for_grey_images(hub):
    torch.manual_seed(3)
    published = torchvision.models.resnet18().state_dict()
    torch.save(published, published_file(hub))
    backbone = resnet(ArrayInput.of(1, 32, 32), "resnet18")
    weights.load(backbone, "torchvision:DEFAULT")
    torch.testing.assert_close(backbone.net.conv1.weight.data, published["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(backbone.net.layer1[0].conv1.weight, published["layer1.0.conv1.weight"])


def test_an_unknown_name_of_the_enum_raises_with_the_nearest():
    backbone = resnet(ArrayInput.of(3, 32, 32), "resnet18")
    with pytest.raises(InputError, match="weights of resnet18 'IMAGENET1K_V9'; did you mean 'IMAGENET1K_V1'"):
        weights.load(backbone, "torchvision:IMAGENET1K_V9")


def test_a_net_that_torchvision_does_not_publish_has_no_enum():
    with pytest.raises(InputError, match="torchvision has no weights for backbone 'convnet'"):
        weights.load(convnet(INPUT, WIDTHS), "torchvision:DEFAULT")


def test_a_failed_download_says_where_to_put_the_file(hub):
    backbone = resnet(ArrayInput.of(3, 32, 32), "resnet18")
    with pytest.raises(InputError, match=r"cannot download https://.*resnet18.*put the file into") as error:
        weights.load(backbone, "torchvision:DEFAULT")
    assert str(hub) in str(error.value)


def test_a_pickle_with_code_in_the_hubs_folder_does_not_run(hub, tmp_path):
    ran = tmp_path / "ran"
    torch.save(torchvision.models.resnet18().state_dict() | {"evil": Evil(ran)}, published_file(hub))
    with pytest.raises(InputError):
        weights.load(resnet(ArrayInput.of(3, 32, 32), "resnet18"), "torchvision:DEFAULT")
    assert not ran.exists()


def test_a_damaged_file_in_the_hubs_folder_is_refused_with_a_sentence(hub):
    path = published_file(hub)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=path.name):
        weights.load(resnet(ArrayInput.of(3, 32, 32), "resnet18"), "torchvision:DEFAULT")
