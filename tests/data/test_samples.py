import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transforms

from transferlab.data.images import Cached, Images
from transferlab.data.samples import InMemory, checked, fit_image
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput


def sized(shape, interpolation, crop=None):
    return ArrayInput(shape, None, None, interpolation, crop)


def pixels(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def in_memory(n=6, channels=1):
    return InMemory(pixels(n, channels, 8, 8), torch.arange(n) % 3)


class Opening:
    """Opens files and counts how often."""

    def __init__(self, files):
        self.files, self.opened = files, []

    def __call__(self, index):
        self.opened.append(index)
        return Image.open(self.files[index])


def image_files(folder, n=6, seed=0):
    """Colour images of differing sizes, stored without loss."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [(20 + 3 * i, 17 + 2 * i) for i in range(n)]
    for i, size in enumerate(sizes):
        Image.fromarray(pixels(*size, 3, seed=seed + i).numpy()).save(folder / f"{i}.png")
    return [folder / f"{i}.png" for i in range(n)]


def images(files):
    return Images.of(Opening(files), [str(file) for file in files], torch.arange(len(files)) % 3)


@pytest.mark.parametrize("indices", [[0], [4, 1, 1], list(range(6)), range(2, 5), torch.tensor([5, 0])], ids=str)
def test_fetching_from_memory_is_indexing(indices):
    samples = in_memory()
    x, y = samples[indices]
    listed = [int(i) for i in indices]
    assert torch.equal(x, torch.stack([samples.x[i] for i in listed]))
    assert y.tolist() == [int(samples.y[i]) for i in listed]


def test_taken_samples_keep_their_order_and_labels(tmp_path):
    wanted = torch.tensor([4, 0, 3])
    for samples in (in_memory(), images(image_files(tmp_path))):
        whole, taken = samples.prepared(ArrayInput.of(3, 8, 8)), samples.take(wanted).prepared(ArrayInput.of(3, 8, 8))
        assert len(taken) == 3
        assert torch.equal(taken[[0, 1, 2]][0], whole[[4, 0, 3]][0])
        assert torch.equal(taken.y, whole.y[wanted])
        # and what is taken can be taken from
        again = samples.take(wanted).take(torch.tensor([2])).prepared(ArrayInput.of(3, 8, 8))
        assert torch.equal(again[[0]][0], whole[[3]][0])


def test_relabelling_changes_the_labels_and_no_input(tmp_path):
    other = torch.tensor([2, 2, 2, 0, 0, 1])
    for samples in (in_memory(), images(image_files(tmp_path)), Cached(images(image_files(tmp_path)))):
        before = samples.y.clone()
        x, y = samples.relabelled(other).prepared(ArrayInput.of(3, 8, 8))[range(6)]
        assert torch.equal(y, other)
        assert torch.equal(x, samples.prepared(ArrayInput.of(3, 8, 8))[range(6)][0])
        assert torch.equal(samples.y, before)


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (5, 11), (24, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_torchvisions_with_antialias(size, channels):
    x = pixels(4, channels, 12, 10)
    fitted = fit_image(x, sized((channels, *size), "bilinear"))
    assert fitted.dtype == torch.uint8
    assert torch.equal(fitted, transforms.resize(x, list(size), antialias=True))
    # and torch's bilinear filter on floats, to the grey level that rounding may cost
    exact = functional.interpolate(x.float(), size, mode="bilinear", antialias=True)
    assert (fitted.float() - exact).abs().max() <= 1.0


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (5, 11), (24, 3)])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_resizing_is_pils_own_to_what_two_roundings_cost(size, kind):
    x = 64 + pixels(1, 3, 12, 10) // 2  # where a bicubic filter overshoots nothing is clipped between its two passes
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling[kind.upper()])
    difference = (
        fit_image(x, sized((3, *size), kind))[0].permute(1, 2, 0).int() - torch.from_numpy(np.array(picture)).int()
    )
    assert difference.abs().max() <= 2


def test_the_nearest_pixel_is_one_of_the_images_own():
    x = pixels(4, 1, 12, 10)
    fitted = fit_image(x, sized((1, 24, 5), "nearest"))
    # twice as high, half as wide: each row twice, every second column
    assert torch.equal(fitted, x.repeat_interleave(2, 2)[..., ::2])


def test_images_in_memory_and_in_files_are_resized_as_the_input_says(tmp_path):
    inputs = {kind: ArrayInput((3, 8, 8), None, None, kind, None) for kind in ("bilinear", "bicubic", "nearest")}
    for samples in (InMemory(pixels(6, 3, 20, 20), torch.zeros(6)), images(image_files(tmp_path))):
        found = {kind: samples.prepared(input)[range(6)][0] for kind, input in inputs.items()}
        assert not any(torch.equal(found["bilinear"], found[kind]) for kind in ("bicubic", "nearest"))
        assert not torch.equal(found["bicubic"], found["nearest"])


def test_an_image_of_the_right_size_is_left_alone():
    x = pixels(4, 3, 12, 10)
    assert torch.equal(fit_image(x, sized((3, 12, 10), "bilinear")), x)


@pytest.mark.parametrize("size", [(40, 40), (30, 50), (64, 20)])
def test_a_crop_is_torchvisions_resize_and_center_crop(size):
    x = pixels(3, 3, *size)
    resized = v2.Resize(20, transforms.InterpolationMode.BICUBIC, antialias=True)(x)
    expected = v2.CenterCrop(16)(resized)
    found = fit_image(x, sized((3, 16, 16), "bicubic", 16 / 20))
    assert (found.int() - expected.int()).abs().max() <= 1


def test_a_whole_crop_keeps_the_proportions():
    x = torch.zeros(1, 1, 10, 30, dtype=torch.uint8)
    x[..., 10:20] = 255  # the middle square
    assert (fit_image(x, sized((1, 10, 10), "nearest", 1.0)) == 255).all()
    assert (fit_image(x, sized((1, 10, 10), "nearest")) == 0).any()


def test_grey_is_repeated_for_colour_nets():
    x = pixels(4, 1, 8, 8)
    fitted = fit_image(x, sized((3, 8, 8), "bilinear"))
    assert torch.equal(fitted, torch.cat([x, x, x], 1))
    assert fitted.is_contiguous()


@pytest.mark.parametrize(("has", "takes"), [(3, 1), (2, 3), (3, 4)])
def test_channels_that_do_not_fit_are_refused_with_the_remedy(has, takes):
    with pytest.raises(InputError, match=rf"{has} channels.*takes {takes}; set backbone\.input\.shape=\[{has},16,16\]"):
        fit_image(pixels(2, has, 8, 8), sized((takes, 16, 16), "bilinear"))


def test_images_in_memory_are_flattened_for_a_net_of_features():
    samples = in_memory(channels=3)
    flat = samples.prepared(ArrayInput.of(192))
    assert flat.x.shape == (6, 192)
    # row-major; the scale is a matter of the batch
    assert torch.equal(
        torch.argsort(flat.x, dim=1, stable=True), torch.argsort(samples.x.flatten(1), dim=1, stable=True)
    )


def test_a_table_passes_unchanged():
    x = torch.randn(5, 7)
    assert torch.equal(InMemory(x, torch.zeros(5).long()).prepared(ArrayInput.of(7)).x, x)


def test_inputs_that_do_not_fit_the_backbone_are_refused_with_the_remedy(tmp_path):
    table = InMemory(torch.randn(5, 7), torch.zeros(5).long())
    with pytest.raises(InputError, match=r"7 features.*takes 9; set backbone\.input\.shape=\[7\]"):
        table.prepared(ArrayInput.of(9))
    with pytest.raises(
        InputError, match=r"tables of 7 features.*backbone=mlp input@backbone\.input=table backbone\.input\.shape=\[7\]"
    ):
        table.prepared(ArrayInput.of(3, 8, 8))
    with pytest.raises(InputError, match="takes tables, the data are images"):
        images(image_files(tmp_path)).prepared(ArrayInput.of(64))


def test_checked_samples_are_kept_as_they_are():
    x, y = torch.randn(4, 3), torch.tensor([0, 2, 1, 0], dtype=torch.int32)
    samples = checked(x, y, 3, "a.npz")
    assert torch.equal(samples.x, x)
    assert samples.y.dtype == torch.int64
    assert samples.y.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        ([[0.0], [float("nan")], [1.0]], [0, 1, 0], "a.npz: sample 1 holds NaN"),
        ([[0.0], [1.0], [float("-inf")]], [0, 1, 0], "a.npz: sample 2 holds NaN or infinity"),
        ([[0.0], [1.0], [2.0]], [0, 1, 2], r"a.npz: the label of sample 2 is 2, outside 0..1 \(2 classes\)"),
        ([[0.0], [1.0], [2.0]], [0, -1, 1], "a.npz: the label of sample 1 is -1"),
        ([[0.0], [1.0], [2.0]], [0, 1], "a.npz has 3 inputs but 2 labels"),
        ([], [], "a.npz holds no samples"),
    ],
)
def test_unusable_samples_are_refused_by_file_and_sample(x, y, sentence):
    with pytest.raises(InputError, match=sentence):
        checked(torch.tensor(x), torch.tensor(y, dtype=torch.int64), 2, "a.npz")


def test_a_nan_in_an_image_sized_input_is_found():
    x = torch.zeros(3, 2, 4, 4)
    x[2, 1, 3, 3] = float("nan")
    with pytest.raises(InputError, match="sample 2 holds NaN"):
        checked(x, torch.zeros(3).long(), 1, "a.npz")


def test_decoding_lazily_gives_what_decoding_once_gives(tmp_path):
    lazy = images(image_files(tmp_path))
    cached = Cached(lazy).prepared(ArrayInput.of(3, 16, 16))
    assert lazy.load.opened == []
    assert torch.equal(cached[[4, 1, 4]][0], lazy.prepared(ArrayInput.of(3, 16, 16))[[4, 1, 4]][0])
    lazy.load.opened.clear()
    cached.decode()
    assert sorted(lazy.load.opened) == [0, 2, 3, 5]  # those that nobody has asked for
    lazy.load.opened.clear()
    for index in range(len(lazy)):
        x, y = cached[[index]]
        assert lazy.load.opened == []
        assert torch.equal(x, lazy.prepared(ArrayInput.of(3, 16, 16))[[index]][0])
        assert y[0] == lazy.y[index]
        lazy.load.opened.clear()


def test_a_decoded_image_is_pils_own_resized_by_torchvision(tmp_path):
    files = image_files(tmp_path)
    x, _ = images(files).prepared(ArrayInput.of(3, 16, 12))[range(6)]
    for index, file in enumerate(files):
        plain = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
        assert torch.equal(x[index], transforms.resize(plain, [16, 12], antialias=True))


def test_images_are_opened_only_when_fetched(tmp_path):
    samples = images(image_files(tmp_path))
    half = samples.take(torch.tensor([5, 1, 3])).prepared(ArrayInput.of(3, 8, 8))
    assert samples.load.opened == []
    half[[0, 2]]
    assert samples.load.opened == [5, 3]


def test_cached_images_are_opened_once(tmp_path):
    samples = images(image_files(tmp_path))
    ready = Cached(samples).take(torch.tensor([5, 1, 3])).prepared(ArrayInput.of(3, 8, 8))
    for _ in range(3):
        ready[[0, 1, 2]]
    assert sorted(samples.load.opened) == [1, 3, 5]


def test_images_have_no_size_before_a_backbones_shape_is_known(tmp_path):
    with pytest.raises(RuntimeError, match="prepared"):
        images(image_files(tmp_path))[[0]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_an_image_of_any_mode_fits_a_colour_net(mode, tmp_path):
    file = tmp_path / "a.tiff"
    Image.fromarray(pixels(9, 9, 3).numpy()).convert(mode).save(file)
    x, _ = images([file]).prepared(ArrayInput.of(3, 9, 9))[[0]]
    expected = np.array(Image.open(file).convert("RGB"))
    assert torch.equal(x[0], torch.from_numpy(expected).permute(2, 0, 1))


def test_a_grey_image_fits_a_net_of_one_channel(tmp_path):
    grey = pixels(9, 9)
    Image.fromarray(grey.numpy()).save(tmp_path / "a.png")
    x, _ = images([tmp_path / "a.png"]).prepared(ArrayInput.of(1, 9, 9))[[0]]
    assert torch.equal(x[0, 0], grey)


def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(grey * 256 + 7).save(tmp_path / "a.png")
    x, _ = images([tmp_path / "a.png"]).prepared(ArrayInput.of(1, 16, 16))[[0]]
    assert (x[0, 0].int() - torch.from_numpy(grey.astype(np.int32))).abs().max() <= 1


def encoded(form):
    stream = io.BytesIO()
    Image.fromarray(pixels(40, 40, 3).numpy()).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.png", b"no image at all"),
        ("empty.jpg", b""),
        ("cut.png", encoded("PNG")[:900]),
        ("cut.jpg", encoded("JPEG")[:700]),
        ("cut.bmp", encoded("BMP")[:900]),
        ("chunk.png", encoded("PNG").replace(b"IDAT", b"ID\0T")),
        ("header.ppm", b"P6\n4x 40\n255\n" + bytes(4800)),
        ("huge.bmp", encoded("BMP")[:18] + b"\xff\xff\xff\x0f" + encoded("BMP")[22:]),
        ("gone.png", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_corrupt_image_is_refused_by_its_name(name, content, tmp_path):
    good = image_files(tmp_path, 1)
    bad = tmp_path / name
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is no readable image.*repair or remove"):
        images([*good, bad]).prepared(ArrayInput.of(3, 8, 8))[[0, 1]]
    with pytest.raises(InputError, match=name):
        Cached(images([*good, bad])).prepared(ArrayInput.of(3, 8, 8)).decode()


def test_equal_samples_in_memory_have_equal_fingerprints():
    assert in_memory().fingerprint() == in_memory().fingerprint()
    # a view of other strides is the same content
    turned = in_memory().x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)
    assert InMemory(turned, in_memory().y).fingerprint() == in_memory().fingerprint()


def test_any_changed_pixel_or_label_changes_the_fingerprint_in_memory():
    samples = in_memory(n=3)
    prints = [samples.fingerprint()]
    for place in range(samples.x.numel()):
        x = samples.x.clone()
        x.view(-1)[place] ^= 1
        prints.append(InMemory(x, samples.y).fingerprint())
    for place in range(len(samples)):
        y = samples.y.clone()
        y[place] += 1
        prints.append(samples.relabelled(y).fingerprint())
    assert len(set(prints)) == len(prints)


def test_order_shape_and_type_count_in_the_fingerprint():
    samples = in_memory()
    prints = {
        samples.fingerprint(),
        samples.take(torch.tensor([1, 0, 2, 3, 4, 5])).fingerprint(),
        InMemory(samples.x.reshape(6, 1, 4, 16), samples.y).fingerprint(),
        InMemory(samples.x.view(torch.int8), samples.y).fingerprint(),
    }
    assert len(prints) == 4


LAZY_AND_CACHED = pytest.mark.parametrize("hold", [lambda samples: samples, Cached], ids=["lazy", "cached"])


@LAZY_AND_CACHED
def test_equal_files_have_equal_fingerprints(hold, tmp_path):
    one, two = (hold(images(image_files(tmp_path))) for _ in range(2))
    assert one.fingerprint() == two.fingerprint()


@LAZY_AND_CACHED
def test_the_folder_in_which_files_lie_does_not_count_in_the_fingerprint(hold, tmp_path):
    here, there = (hold(images(image_files(tmp_path / place))) for place in ("here", "there"))
    assert here.fingerprint() == there.fingerprint()


@LAZY_AND_CACHED
def test_a_changed_pixel_of_a_file_changes_the_fingerprint(hold, tmp_path):
    files = image_files(tmp_path)
    before = hold(images(files)).fingerprint()
    changed = np.array(Image.open(files[3]))
    changed[2, 2, 1] ^= 1
    Image.fromarray(changed).save(files[3])
    assert hold(images(files)).fingerprint() != before


@LAZY_AND_CACHED
def test_a_changed_label_or_order_of_files_changes_the_fingerprint(hold, tmp_path):
    samples = hold(images(image_files(tmp_path)))
    prints = {
        samples.fingerprint(),
        samples.relabelled(torch.tensor([0, 1, 2, 0, 1, 1])).fingerprint(),
        samples.take(torch.tensor([3, 1, 2, 0, 4, 5])).fingerprint(),  # 0 and 3 have the same label
        samples.take(torch.arange(5)).fingerprint(),
    }
    assert len(prints) == 4
