"""Semantic alignment: features of an image near the meaning of its class's name."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.data.prompts import spoken
from transferlab.errors import InputError, unknown
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.weight import Weight
from transferlab.tasks.labels import described
from transferlab.tasks.language import Language

Form: TypeAlias = Literal["cosine", "squared", "ranking"]
_FORMS = ("cosine", "squared", "ranking")


def semantic_alignment(projected: Tensor, words: Tensor, y: Tensor, form: Form, margin: float) -> Tensor:
    """Draw projected features to the embedding of their class's name.

    Frome et al. 2013, "DeViSE: A Deep Visual-Semantic Embedding Model" (NeurIPS); its equation 1 is `ranking`.

    Args:
        projected: features in the space of words (B, E).
        words: unit vectors of the classes' names (C, E).
        y: classes (B,).
        form: `cosine`: 1 - cos(p, t_y) | `squared`: |p - t_y|^2 | `ranking`: the sum over all other classes j of
            max(0, margin - t_y p + t_j p).
        margin: of `ranking`.

    Returns:
        A scalar, the mean over the batch.
    """
    own = words[y]
    if form == "cosine":
        return (1 - F.cosine_similarity(projected, own)).mean()
    if form == "squared":
        return (projected - own).square().sum(1).mean()
    products = projected @ words.T
    short = (margin - products.gather(1, y[:, None]) + products).clamp_min(0)
    others = torch.ones_like(short).scatter_(1, y[:, None], 0)
    return (short * others).sum(1).mean()


class SemanticAlignment(TransferLoss):
    """`semantic_alignment` on the target's batch, through a linear projection of its own.

    Args:
        weight: of the whole term.
        language: the frozen text tower that embeds names.
        names: what a class is called, where its name in the data is not a word.
        form: `cosine`, `squared` or `ranking`.
        margin: of `ranking`, above 0.

    Raises:
        InputError: another form, or no margin.
    """

    words: Tensor

    def __init__(self, weight: Weight, language: Language, names: Mapping[str, str], form: Form, margin: float) -> None:
        super().__init__(weight)
        if form not in _FORMS:
            raise unknown("strategy.losses.semantic_alignment.form", form, _FORMS)
        if margin <= 0:
            raise InputError(f"strategy.losses.semantic_alignment.margin={margin}: a number above 0")
        self.form, self.margin = form, margin
        self._language, self._names = language, names
        self.projection: nn.Module | None = None

    def prepare(self, setting: Setting) -> None:
        """Embed the names, and build the projection.

        Raises:
            InputError: the target's classes have no names, or the features are no vectors.
        """
        if not setting.names:
            raise InputError("loss 'semantic_alignment' reads the names of classes, and this target's have none")
        if setting.task.dense:
            raise InputError("loss 'semantic_alignment' takes one vector a sample: choose task=classification")
        self.register_buffer("words", self._language(spoken(setting.names, self._names)).clone())
        self.projection = nn.Linear(setting.backbone.features, self.words.shape[1])

    def forward(self, step: Step) -> Tensor:
        """The loss of the target's batch.

        Raises:
            InputError: labels that are no classes.
        """
        target = step.domain("target", "semantic_alignment")
        if self.projection is None:
            raise RuntimeError("loss 'semantic_alignment' was not prepared")
        if target.y.ndim != 1 or target.y.is_floating_point():
            raise InputError(
                f"loss 'semantic_alignment' takes one class a sample, these labels are {described(target.y)}"
            )
        return semantic_alignment(self.projection(target.features), self.words, target.y, self.form, self.margin)
