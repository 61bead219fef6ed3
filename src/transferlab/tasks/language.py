"""What a language model says of the names of classes: one vector each, from a frozen text tower."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from transferlab.backbones.base import Backbone
from transferlab.backbones.weights import load
from transferlab.data.prompts import sentences
from transferlab.data.ragged import Ragged
from transferlab.errors import InputError
from transferlab.inputs.base import expect
from transferlab.inputs.text import TextInput

_BATCH = 256
_known: dict[str, Tensor] = {}
"""Embeddings by what made them: a sweep's runs ask for the same ones."""


@dataclass(frozen=True)
class Language:
    """A text tower that embeds words; it is built where its answer is not known yet, and never trains.

    Args:
        tower: builds the backbone for texts.
        weights: its origin, as `source.weights` has it.
        prompts: sentences with `{}` in a word's place; a word is the mean of its prompts' unit vectors (Radford et al.
            2021, "Learning Transferable Visual Models From Natural Language Supervision", section 3.1.4).
    """

    tower: "partial[Backbone]"
    weights: str
    prompts: Sequence[str]

    def __call__(self, words: Sequence[str]) -> Tensor:
        """Unit vectors (W, E) of words.

        Raises:
            InputError: the tower takes no texts, its weights are not there, or a prompt has no place for a word.
        """
        key = repr((self.tower, self.weights, tuple(self.prompts), tuple(words)))
        if key not in _known:
            _known[key] = self._embedded(sentences(words, self.prompts))
        return _known[key]

    def _embedded(self, written: Sequence[Sequence[str]]) -> Tensor:
        given = self.tower.keywords["input"]
        input = expect(given, TextInput, "names of classes", "choose a backbone for texts, such as minilm")
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # a new net draws random numbers
            tower = self.tower()
            load(tower, self.weights)
            tower.eval()
            ids = input.ids([text for texts in written for text in texts])
            if any(not len(one) for one in ids):
                raise InputError("a class's name has no token: say with `names` what it is called")
            rows = Ragged.of(ids, torch.arange(len(ids)), input.padding)
            batches = torch.split(torch.arange(len(ids)), _BATCH)
            vectors = torch.cat([tower(input.normalised(rows[batch.tolist()][0])) for batch in batches])
        unit = F.normalize(vectors).reshape(len(written), -1, vectors.shape[1])
        return F.normalize(unit.mean(1))


def imagenet() -> list[str]:
    """Names of ImageNet's 1,000 classes in the order of published classifiers, as torchvision has them."""
    from torchvision.models import ResNet18_Weights

    names: Mapping[str, list[str]] = ResNet18_Weights.DEFAULT.meta
    return list(names["categories"])
