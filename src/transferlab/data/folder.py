"""A user's own images, one folder a class."""

from pathlib import Path

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from transferlab.data.images import Cached, Images, Opened
from transferlab.data.labels import check_known
from transferlab.data.samples import Samples, Splits
from transferlab.errors import InputError


def image_folder(root: str, train: str | None, test: str | None, in_memory: bool) -> Splits:
    """Read `root/train/CLASS/*` and `root/test/CLASS/*`, or `root/CLASS/*` with `train: null`.

    Args:
        root: the folder.
        train: sub-folder of the training images; None if `root` itself holds the classes.
        test: sub-folder of the test images; where there is none, test samples are cut from training.
        in_memory: decode and resize once, at the start.

    Raises:
        InputError: a folder is missing or empty, or the test split has a class that training lacks.
    """
    base = Path(root) / train if train else Path(root)
    if not base.is_dir():
        raise InputError(f"target.data.root={root}: there is no folder {base}; set root, or train=null")
    classes = sorted(entry.name for entry in base.iterdir() if entry.is_dir())
    if not classes:
        raise InputError(f"{base} has no sub-folders: one a class is expected")
    test_base = Path(root) / test if train and test else None
    found = test_base is not None and test_base.is_dir()
    if found and test_base:
        check_known((entry.name for entry in test_base.iterdir() if entry.is_dir()), classes, str(test_base), str(base))
    held = _read(test_base, classes, in_memory) if found and test_base else None
    return Splits(_read(base, classes, in_memory), held, tuple(classes))


def _read(base: Path, classes: list[str], in_memory: bool) -> Samples:
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((base / name).rglob("*"))
        if file.suffix.lower() in IMG_EXTENSIONS
    ]
    if not files:
        raise InputError(f"{base} holds no images ({', '.join(IMG_EXTENSIONS)})")
    paths = [str(file) for file, _ in files]
    images = Images.of(Opened(paths), paths, torch.tensor([label for _, label in files]))
    return Cached(images) if in_memory else images
