"""Any classification set of torchvision, by its name there."""

import inspect
from typing import Any

import torch
import torchvision.datasets as sets
from PIL import Image
from torch import Tensor

from transferlab.data.images import Cached, Images
from transferlab.data.samples import InMemory, Samples, Splits
from transferlab.errors import InputError, unknown

_LABELS = ("targets", "labels", "_labels", "y")


def named(name: str, root: str, download: bool, in_memory: bool) -> Splits:
    """Read `torchvision.datasets.<name>`; it is downloaded only if asked for and missing.

    Raises:
        InputError: no such set, or its files are not under `root`.
    """
    reader = getattr(sets, name, None)
    if not inspect.isclass(reader):
        raise unknown("torchvision data set", name, sets.__all__)
    train, test = (_open(reader, root, download, held_out) for held_out in (False, True))
    names = getattr(train, "classes", None)
    first = _samples(train, name, in_memory)
    classes = tuple(map(str, names)) if names else tuple(map(str, range(int(first.y.max()) + 1)))
    return Splits(first, _samples(test, name, in_memory) if test is not None else None, classes)


def _open(reader: Any, root: str, download: bool, held_out: bool) -> Any:
    accepted = inspect.signature(reader).parameters
    if "train" in accepted:
        options: dict[str, Any] = {"train": not held_out}
    elif "split" in accepted:
        options = {"split": "test" if held_out else "train"}
    elif held_out:
        return None
    else:
        options = {}
    if "download" in accepted:
        options["download"] = download
    try:
        return reader(root, **options)
    except (TypeError, NotImplementedError) as error:
        raise InputError(
            f"torchvision's {reader.__name__} needs more than a folder ({error}) and is not read"
        ) from error
    except (RuntimeError, FileNotFoundError, OSError, ValueError) as error:
        raise InputError(
            f"torchvision's {reader.__name__} is not under {root} ({' '.join(str(error).split())}); "
            "set paths.data to its folder, or target.data.download=true"
        ) from error


def _samples(dataset: Any, name: str, in_memory: bool) -> Samples:
    y = torch.as_tensor(_labels(dataset)).long()
    data = getattr(dataset, "data", None)
    if data is not None and len(data) == len(y):
        return InMemory(_channels_first(torch.as_tensor(data)), y)
    images = Images.of(_Item(dataset), [f"{name}[{i}]" for i in range(len(y))], y)
    return Cached(images) if in_memory else images


def _labels(dataset: Any) -> Any:
    for attribute in _LABELS:
        if hasattr(dataset, attribute):
            return getattr(dataset, attribute)
    return [dataset[i][1] for i in range(len(dataset))]


def _channels_first(x: Tensor) -> Tensor:
    if x.ndim == 3:
        return x[:, None]
    return x.permute(0, 3, 1, 2).contiguous() if x.shape[-1] == 3 else x


class _Item:
    """The i-th image of a torchvision set; a class, because loader processes pickle it."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, index: int) -> Image.Image:
        image: Image.Image = self.dataset[index][0]
        return image
