"""Images with boxes around objects as COCO has them: a folder of images and one json a split."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from transferlab.data.boxes import padded
from transferlab.data.images import Cached, Images, Opened
from transferlab.data.samples import Samples, Splits
from transferlab.errors import InputError

_OVERHANG = 1.0  # pixels that an annotator's rounding may put a corner outside


def coco_json(
    root: str,
    train_images: str,
    train_annotations: str,
    test_images: str | None,
    test_annotations: str | None,
    in_memory: bool,
) -> Splits:
    """Read images with boxes as COCO (Lin et al. 2014) has them: a folder of images and one json a split.

    Classes are numbered in the order of their `id` in the training json. Crowds (`iscrowd: 1`) are left out, as
    torchvision's reference training does.

    Args:
        root: the folder.
        train_images: sub-folder of the training images.
        train_annotations: their json, under `root`.
        test_images: sub-folder of the test images; where there is none, test samples are cut from training.
        test_annotations: their json.
        in_memory: decode and resize once, at the start.

    Raises:
        InputError: a file is missing or no such json, an image is missing or of another size than the json says, or a
            box is of an unknown category, has no area or lies outside its image.
    """
    training = Path(root) / train_annotations
    content = _json(training)
    categories = sorted(content["categories"], key=lambda category: category["id"])
    numbers = {category["id"]: number for number, category in enumerate(categories)}
    held = None
    if test_images and test_annotations and (Path(root) / test_annotations).is_file():
        file = Path(root) / test_annotations
        held = _of_json(_json(file), file, Path(root) / test_images, numbers, in_memory)
    train = _of_json(content, training, Path(root) / train_images, numbers, in_memory)
    return Splits(train, held, tuple(str(category["name"]) for category in categories))


def _json(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise InputError(f"target.data.root: there is no file {file}; set root, or the names of its json files")
    try:
        content: Mapping[str, Any] = json.loads(file.read_text())
        for key, fields in (("images", "id file_name width height"), ("annotations", "image_id category_id bbox")):
            for entry in content[key]:
                for field in fields.split():
                    entry[field]
        for category in content["categories"]:
            category["id"], category["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no json as COCO has it for boxes: {type(error).__name__}: {error}") from error
    return content


def _of_json(
    content: Mapping[str, Any], file: Path, folder: Path, numbers: Mapping[int, int], in_memory: bool
) -> Samples:
    images = {entry["id"]: entry for entry in content["images"]}
    boxes: dict[Any, list[list[float]]] = defaultdict(list)
    for annotation in content["annotations"]:
        place = f"{file}: annotation {annotation.get('id', '')} of image {annotation['image_id']}"
        if annotation["image_id"] not in images:
            raise InputError(f"{place}: there is no such image in the json; add or remove it")
        if annotation["category_id"] not in numbers:
            raise InputError(
                f"{place} has the category {annotation['category_id']}, the training json knows {sorted(numbers)}"
            )
        entry = images[annotation["image_id"]]
        if not annotation.get("iscrowd"):
            corners = _corners(annotation["bbox"], entry["width"], entry["height"], f"{place} ({entry['file_name']})")
            boxes[entry["id"]].append([float(numbers[annotation["category_id"]]), *corners])
    if not boxes:
        raise InputError(f"{file} has no box on any image")
    files = [str(folder / entry["file_name"]) for entry in images.values()]
    for entry, path in zip(images.values(), files, strict=True):
        _check_size(path, entry, file)
    samples = Images.of(Opened(files), files, padded([boxes[key] for key in images]))
    return Cached(samples) if in_memory else samples


def _corners(bbox: Sequence[float], width: float, height: float, place: str) -> list[float]:
    """Corners in shares of the image from COCO's (x, y, width, height) in pixels."""
    x, y, wide, high = map(float, bbox)
    if not (wide > 0 and high > 0):
        raise InputError(f"{place}: the box {list(bbox)} has no area; mend or remove it")
    corners = torch.tensor([x, y, x + wide, y + high], dtype=torch.float64)
    size = torch.tensor([width, height, width, height], dtype=torch.float64)
    inside = corners.clamp(torch.zeros(4, dtype=torch.float64), size)
    if (corners - inside).abs().max() > _OVERHANG or not (inside[2:] > inside[:2]).all():
        raise InputError(
            f"{place}: the box {list(bbox)} lies outside its image of {width} x {height}; mend or remove it"
        )
    return (inside / size).tolist()


def _check_size(path: str, entry: Mapping[str, Any], file: Path) -> None:
    if not Path(path).is_file():
        raise InputError(f"{file} names the image {path}, which is not there: add it, or set the folder of the images")
    try:
        with Image.open(path) as image:
            size = image.size
    except Exception as error:  # Pillow's readers raise nearly anything
        raise InputError(f"{path} is no readable image: {error}; repair or remove it") from error
    if size != (entry["width"], entry["height"]):
        raise InputError(
            f"{path} has {size[0]} x {size[1]} pixels (width x height), {file} says "
            f"{entry['width']} x {entry['height']}: mend one of them"
        )
