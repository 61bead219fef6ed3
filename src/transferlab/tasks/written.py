"""Scores of written texts against the ones that were wanted, by sacrebleu."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

_BETWEEN = b"\0"  # in no UTF-8 text but as the character 0 itself


class Written(Metric):
    """A score of sacrebleu over a whole split, from 0 to 100; 0 where nothing was written.

    Texts are kept as bytes, since what is brought together from several processes must be tensors.

    Args:
        scorer: `BLEU` or `CHRF` of sacrebleu.
    """

    full_state_update = False
    said: list[Tensor]
    wanted: list[Tensor]

    def __init__(self, scorer: Any) -> None:
        super().__init__()
        self.scorer = scorer
        self.add_state("said", [], dist_reduce_fx="cat")
        self.add_state("wanted", [], dist_reduce_fx="cat")

    def update(self, said: Sequence[str], wanted: Sequence[str]) -> None:
        """Keep the texts of a batch.

        Args:
            said: what was written, B texts.
            wanted: one reference for each.
        """
        for state, texts in ((self.said, said), (self.wanted, wanted)):
            ended = b"".join(text.replace("\0", " ").encode() + _BETWEEN for text in texts)
            state.append(torch.tensor(list(ended), dtype=torch.uint8, device=self.device))

    def compute(self) -> Tensor:
        """The corpus's score."""
        said, wanted = _texts(self.said), _texts(self.wanted)
        score = self.scorer.corpus_score(said, [wanted]).score if said else 0.0
        return torch.tensor(score, device=self.device)


def _texts(state: Tensor | list[Tensor]) -> list[str]:
    # several processes' states arrive as one tensor
    parts = [state] if isinstance(state, Tensor) else state
    whole = b"".join(bytes(part.tolist()) for part in parts)
    return [text.decode() for text in whole.split(_BETWEEN)[:-1]]
