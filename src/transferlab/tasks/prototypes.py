"""Heads that start from the names of their classes: a language model says what the weights of a class are like."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.backbones import packages
from transferlab.backbones.base import Backbone
from transferlab.backbones.weights import read_tensors
from transferlab.data.prompts import spoken
from transferlab.data.samples import Samples
from transferlab.data.target import Target, has_classes
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input
from transferlab.tasks.heads import Cosine, cosine
from transferlab.tasks.language import Language, imagenet

Anchors: TypeAlias = Callable[[Backbone, Input], tuple[Tensor, Sequence[str]]]
"""Of a backbone and its input: directions (A, F) among its features, and the word that each stands for."""

_BATCH = 64
_known: dict[tuple[str | bytes, ...], Tensor] = {}
"""Features by backbone and data: a sweep's runs ask for the same ones."""


@runtime_checkable
class Starter(Protocol):
    """A head that starts from more than chance."""

    def initialise(self, backbone: Backbone, classes: Sequence[str], input: Input) -> None:
        """Take the starting weights, once, when the backbone has its own.

        Args:
            backbone: with the weights that the run starts from.
            classes: names in the order of the outputs.
            input: what the backbone takes.

        Raises:
            InputError: there is no such start for these classes or this backbone.
        """
        ...


def bridge(known: Tensor, directions: Tensor, new: Tensor, ridge: float) -> Tensor:
    """Where among a vision model's features a class lies of which only the name is known: ridge regression on words.

    The map `M = argmin |T M - V|^2 + ridge * |M|^2` from centred embeddings T of known words to the centred directions
    V that they have in feature space, applied to new words. With few known words it says little of others. In this
    direction, from words to features, as Shigeto et al. 2015, "Ridge Regression, Hubness, and Zero-Shot Learning"
    (ECML PKDD), section 3, where it keeps a few classes from being everyone's nearest.

    Args:
        known: embeddings of words (A, E).
        directions: what they stand for among the features (A, F).
        new: embeddings of other or the same words (C, E).
        ridge: strength, above 0.

    Returns:
        Directions (C, F).
    """
    middle = known.mean(0)
    words, wanted = (known - middle).double(), (directions - directions.mean(0)).double()
    # a solution of size A or E, whichever is less
    if len(words) < words.shape[1]:
        inner = words @ words.T + ridge * torch.eye(len(words), dtype=words.dtype)
        solved = words.T @ torch.linalg.solve(inner, wanted)
    else:
        inner = words.T @ words + ridge * torch.eye(words.shape[1], dtype=words.dtype)
        solved = torch.linalg.solve(inner, words.T @ wanted)
    found: Tensor = (new - middle).double() @ solved
    return found.to(directions)


def text_prototypes(
    features: int,
    outputs: int,
    *,
    scale: float,
    learned: bool,
    language: Language,
    anchors: Anchors,
    ridge: float,
    names: Mapping[str, str],
) -> "TextPrototypes":
    """A cosine head whose weights start at what the names of the classes mean to the backbone.

    Args:
        features: of the backbone.
        outputs: how many classes.
        scale: see `heads.cosine`.
        learned: likewise.
        language: embeds names.
        anchors: words whose directions among the features are known.
        ridge: of `bridge`.
        names: what a class is called, where its name in the data is not a word.

    Raises:
        InputError: a scale or a strength of 0 or less.
    """
    if ridge <= 0:
        raise InputError(f"task.head.ridge={ridge}: a number above 0")
    return TextPrototypes(cosine(features, outputs, scale=scale, learned=learned), language, anchors, ridge, names)


class TextPrototypes(nn.Module):
    """`Cosine`, random until it is started."""

    def __init__(
        self, head: Cosine, language: Language, anchors: Anchors, ridge: float, names: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.head = head
        self._language, self._anchors, self._ridge, self._names = language, anchors, ridge, names

    def initialise(self, backbone: Backbone, classes: Sequence[str], input: Input) -> None:
        """Set each class's weights to the direction that its name points in, of length 1."""
        if len(classes) != len(self.head.weight):
            raise InputError(
                f"task/head=text_prototypes starts from names of classes: there are {len(classes)} of them for "
                f"{len(self.head.weight)} outputs"
            )
        directions, words = self._anchors(backbone, input)
        if directions.shape[1] != backbone.features:
            raise InputError(
                f"task.head.anchors has directions of {directions.shape[1]} features, backbone '{backbone.name}' has "
                f"{backbone.features}: name the classifier that belongs to it"
            )
        found = bridge(self._language(words), directions, self._language(spoken(classes, self._names)), self._ridge)
        with torch.no_grad():
            self.head.weight.copy_(F.normalize(found))

    def forward(self, features: Tensor) -> Tensor:
        """Scaled cosines (B, C)."""
        cosines: Tensor = self.head(features)
        return cosines


@dataclass(frozen=True)
class Classifier:
    """The published classifier of the source: a row of its matrix for each of the source's classes. No image is read.

    Args:
        weights: `package:NAME`, or a file of tensors.
        tensor: the matrix's name in it, (A, F).
        names: `imagenet`, or a text file with a name a line, in the matrix's order.
    """

    weights: str
    tensor: str
    names: str

    def __call__(self, backbone: Backbone, input: Input) -> tuple[Tensor, Sequence[str]]:
        """Rows and names.

        Raises:
            InputError: there is no such file or tensor, or another number of names.
        """
        package = self.weights.removeprefix("package:")
        state = read_tensors(Path(self.weights) if package == self.weights else packages.weights_file(package))
        if self.tensor not in state:
            raise unknown(f"tensor in {self.weights}", self.tensor, state)
        rows = state[self.tensor]
        words = imagenet() if self.names == "imagenet" else _lines(self.names)
        if rows.ndim != 2 or len(rows) != len(words):
            raise InputError(
                f"{self.tensor} of {self.weights} has the shape {tuple(rows.shape)}, task.head.anchors.names="
                f"{self.names} are {len(words)}: a row for each name is expected"
            )
        return rows.float(), words


@dataclass(frozen=True)
class Means:
    """Labelled images of another domain: the mean of the unit features of each class, in the training part alone.

    Args:
        of: the images.
        names: what a class is called, where its name in that set is not a word.
    """

    of: Target
    names: Mapping[str, str]

    def __call__(self, backbone: Backbone, input: Input) -> tuple[Tensor, Sequence[str]]:
        """Means and names.

        Raises:
            InputError: labels that are no classes, or settings that leave a class without samples.
        """
        if not has_classes(self.of.data.train.y, self.of.data.classes):
            raise InputError("task.head.anchors.of has labels that are no classes: choose a set that has them")
        samples, classes = self.training(), self.of.data.classes
        ready = samples.prepared(input)
        # two backbones may have equal weights and pool differently
        key = (_digest(backbone), _bytes(_features(backbone, ready, input, 1)), samples.fingerprint(), repr(input))
        if key not in _known:
            _known[key] = F.normalize(_features(backbone, ready, input, len(ready)))
        sums = torch.zeros(len(classes), backbone.features).index_add_(0, samples.y, _known[key])
        counts = samples.y.bincount(minlength=len(classes))
        return sums / counts[:, None], spoken(classes, self.names)

    def training(self) -> Samples:
        """The labelled images, as a run with seed 0 would train on them."""
        return self.of.parts(0).train


def _features(backbone: Backbone, samples: Samples, input: Input, count: int) -> Tensor:
    """Of the first samples (count, F), in evaluation mode."""
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        batches = torch.split(torch.arange(count), _BATCH)
        found = [backbone(input.normalised(samples[batch.tolist()][0])) for batch in batches]
    backbone.train(training)
    return torch.cat(found)


def _digest(backbone: Backbone) -> str:
    """A hash of all weights and statistics."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in backbone.state_dict().values():
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.cpu().contiguous().numpy().tobytes()


def _lines(path: str) -> list[str]:
    if not Path(path).is_file():
        raise InputError(f"task.head.anchors.names={path}: imagenet, or a text file with a name a line")
    return [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
