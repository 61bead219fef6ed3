"""Images with texts: a table of captions, or prompts of the names of classes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from transferlab.data.cells import written
from transferlab.data.duplicates import Identities, digests, identities
from transferlab.data.images import Cached, Images, Opened
from transferlab.data.prompts import sentences, spoken
from transferlab.data.samples import Samples, Splits
from transferlab.data.target import Target
from transferlab.data.text import Corpus, Texts
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input, expect
from transferlab.inputs.pair import PairInput
from transferlab.values import Pair

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_HINT = "choose backbone=two_tower"


@dataclass(frozen=True)
class Captions:
    """Images beside texts.

    Attributes:
        images: N of them, one that has several texts as often.
        texts: likewise, labelled by what belongs together.
        groups: which pairs have one image, (N,); None: each has its own.
    """

    images: Samples
    texts: Samples
    groups: Sequence[int] | None = None

    @property
    def y(self) -> Tensor:
        """Labels (N,): pairs of one label belong together."""
        return self.texts.y

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Pair, Tensor]:
        texts, y = self.texts[indices]
        return Pair(self.images[indices][0], texts), y

    def take(self, indices: Tensor) -> "Captions":  # noqa: D102
        groups = None if self.groups is None else [self.groups[index] for index in indices.tolist()]
        return Captions(self.images.take(indices), self.texts.take(indices), groups)

    def relabelled(self, y: Tensor) -> "Captions":  # noqa: D102
        # what trains is the pair: under another label the text would go on telling the truth
        raise InputError(
            "target.noise and target.missing_labels change labels, and images with texts are learned in pairs"
        )

    def sealed(self) -> Samples:
        """Nothing: what is learned is the pair.

        Raises:
            InputError: always.
        """
        raise InputError("images with texts are learned in pairs, and have no labels to hide: set target.labels=all")

    def prepared(self, input: Input) -> "Captions":  # noqa: D102
        pair = expect(input, PairInput, "pairs of images and texts", _HINT)
        return replace(self, images=self.images.prepared(pair.first), texts=self.texts.prepared(pair.second))

    def fingerprint(self) -> str:  # noqa: D102
        both = f"{self.images.fingerprint()} {self.texts.fingerprint()}"
        return hashlib.blake2b(both.encode(), digest_size=8).hexdigest()

    def digests(self) -> list[bytes]:
        """A hash of each image with its text."""
        return [image + text for image, text in zip(digests(self.images), digests(self.texts), strict=True)]

    def identities(self) -> Identities:
        """Of the images: one is the same sample under another caption, or with a class."""
        return identities(self.images)


def captions(
    path: str,
    test: str | None,
    root: str | None,
    image: str,
    text: str,
    encoding: str,
    in_memory: bool,
    cache: str | None,
) -> Splits:
    """Read tables of images and their captions, one pair a row: `.csv`, `.tsv`, or `.jsonl` with one object a line.

    Args:
        path: the training split.
        test: the test split; None: it is cut from training. No cut parts the captions of one image.
        root: the folder that the images' paths start from; None: that of the table.
        image: the column of paths; rows with one path are captions of one image.
        text: the column of captions.
        encoding: of the tables.
        in_memory: decode and resize once, at the start; an image with several captions lies there as often.
        cache: the folder for tokens, or None.

    Raises:
        InputError: a file, column, cell or image that is missing, no rows, or an image in both files.
    """
    train = _read(path, "target.data.path", root, image, text, encoding)
    held = None if test is None else _read(test, "target.data.test", root, image, text, encoding)
    if held is not None and (both := set(train.image) & set(held.image)):
        raise InputError(f"{test}: {min(both)} is in {path} too; an image belongs to one split")
    splits = [None if table is None else _samples(table, in_memory, cache) for table in (train, held)]
    assert splits[0] is not None
    return Splits(splits[0], splits[1], ())


def prompted(of: Target, prompts: Sequence[str], names: Mapping[str, str], cache: str | None) -> Splits:
    """Give each image of a labelled set a prompt of its class's name, say `a photo of a {}`.

    Fine-tuning on such pairs as pretraining did on its own is FLYP: Goyal et al. 2023, "Finetune Like You Pretrain"
    (CVPR), section 3. There a prompt is drawn anew at each step; here an image keeps one, the prompts taken in turn.

    Args:
        of: the labelled images; what it says of labels and splits is not looked at.
        prompts: one or more, each with `{}` where the name stands.
        names: what a class is called, where its name in the set is not a word.
        cache: the folder for tokens, or None.

    Raises:
        InputError: a prompt without `{}`, a class that does not exist, or a set whose labels are no classes.
    """
    data = of.data
    words = spoken(data.classes, names)
    written = sentences(words, prompts)
    if data.train.y.ndim != 1 or data.train.y.is_floating_point() or not words:
        raise InputError("target=prompted speaks of classes, and the labels of target.data.of are none")

    def described(samples: Samples) -> Captions:
        texts = [written[label][turn % len(prompts)] for turn, label in enumerate(samples.y.tolist())]
        corpus = Corpus(texts, None, "sample {}".format, cache)
        return Captions(samples, Texts.of(corpus, samples.y))

    return Splits(described(data.train), None if data.test is None else described(data.test), data.classes)


def _read(path: str, key: str, root: str | None, image: str, text: str, encoding: str) -> "pd.DataFrame":
    """The table's paths of images, whole, and its texts, in the columns `image, text, place`."""
    table = _table(Path(path), key, encoding)
    for column in (image, text):
        if column not in table.columns:
            raise unknown(f"column of {path}", column, map(str, table.columns))
        cells = table[column]
        if (empty := (cells.isna() | (cells.astype(str).str.strip() == "")).to_numpy()).any():
            raise InputError(f"{_row(path, int(empty.argmax()))} has nothing in column '{column}'; fill or remove it")
    if table.empty:
        raise InputError(f"{path} holds no captions")
    base = Path(root) if root is not None else Path(path).parent
    files = [str(base / str(name)) for name in table[image]]
    for number, file in enumerate(files):
        if not Path(file).is_file():
            raise InputError(f"{_row(path, number)}: there is no image {file}; set target.data.root")
    return pd.DataFrame({"image": files, "text": table[text].astype(str), "place": [path] * len(files)})


def _table(path: Path, key: str, encoding: str) -> "pd.DataFrame":
    if path.suffix not in (*_SEPARATORS, ".jsonl"):
        raise InputError(f"{key}={path}: a file that ends in .csv, .tsv or .jsonl")
    if not path.is_file():
        raise InputError(f"{key}={path}: there is no such file")
    try:
        if path.suffix == ".jsonl":
            return pd.read_json(path, lines=True, dtype=False, convert_dates=False, encoding=encoding)
        return written(path, sep=_SEPARATORS[path.suffix], encoding=encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise InputError(f"{path} is not in encoding={encoding} ({error}); set target.data.encoding") from error
    except (ValueError, OSError) as error:  # pandas' own errors of parsing are among them
        raise InputError(f"{path} is no {path.suffix} that can be read: {' '.join(str(error).split())}") from error


def _samples(table: "pd.DataFrame", in_memory: bool, cache: str | None) -> Captions:
    numbers, files = pd.factorize(table.image)
    y = torch.from_numpy(numbers.astype("int64"))
    # the file is opened by its own number, so that an image with several captions is one image of the set
    images = Images(Opened(list(files)), tuple(files), y, y)
    corpus = Corpus(list(table.text), None, partial(_row, str(table.place.iloc[0])), cache)
    return Captions(Cached(images) if in_memory else images, Texts.of(corpus, y), numbers.tolist())


def _row(origin: str, number: int) -> str:
    return f"{origin}, row {number + 1}"
