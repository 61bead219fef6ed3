"""Sequence to sequence: a text is read, and another is written for it."""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection

from transferlab.backbones.base import Backbone
from transferlab.data.parallel import IGNORED
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input
from transferlab.inputs.text import TextInput
from transferlab.tasks.labels import described
from transferlab.tasks.written import Written
from transferlab.values import Seq, Value


class Translation:
    """An encoder-decoder of transformers: the backbone reads, the head is the decoder and writes.

    Cross-entropy over the tokens that are wanted, each given those before it (teacher forcing); BLEU and chrF from 0 to
    100 of what the net writes by itself, against the wanted texts as their tokens give them, cut to `max_length`.

    Args:
        input: of the backbone: makes ids and texts of one another.
        decoder: `source`: with the weights that the backbone's source has for it, random if there is no source; `new`:
            random.
        beams: of beam search; 1: at each step the likeliest token.
        max_tokens: that are written for a text, at most.
        tokenize: how BLEU tells words: `13a`, `char`, `zh`, ..., as sacrebleu names them.
        label_smoothing: share of a label that is spread over all tokens, in [0, 1).
        metric: by which an epoch is chosen.

    Raises:
        InputError: settings that do not fit, no texts, or the extra that the metrics need is not installed.
    """

    dense = True
    reconstructs = False

    def __init__(
        self,
        input: Input,
        decoder: str,
        beams: int,
        max_tokens: int,
        tokenize: str,
        label_smoothing: float,
        metric: str,
    ) -> None:
        if not isinstance(input, TextInput):
            raise InputError(f"task=translation reads texts, the backbone takes {input.kind}: choose backbone=t5")
        if decoder not in ("source", "new"):
            raise unknown("task.decoder", decoder, ("source", "new"))
        if beams < 1 or max_tokens < 1:
            raise InputError(f"task.beams={beams} task.max_tokens={max_tokens}: at least 1 each")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"task.label_smoothing={label_smoothing}: a share in [0, 1)")
        if find_spec("sacrebleu") is None:
            raise InputError("task=translation measures by sacrebleu: pip install 'transferlab[translation]'")
        self._scorers = _scorers(tokenize)
        self._input, self._decoder, self._smoothing = input, decoder, label_smoothing
        self._beams, self._max_tokens = beams, max_tokens
        self.metric = metric

    def fit(self, y: Tensor, outputs: int) -> None:
        """See that there are texts to write.

        Raises:
            InputError: the labels are of another kind.
        """
        if y.ndim != 2 or y.is_floating_point() or outputs:
            raise InputError(
                f"task=translation takes a text to write for each sample, these labels are {described(y)}: choose "
                "target=parallel_text, or another task"
            )

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """The decoder, with the source's weights if the backbone has the source's.

        Raises:
            InputError: the backbone is no encoder of an encoder-decoder, or its source has no such decoder.
        """
        from transferlab.backbones.huggingface.seq2seq import decoder, fill

        net = decoder(backbone)
        writer = Writer(net, self._input.end, self._input.padding, self._beams, self._max_tokens)
        if self._decoder == "source" and backbone.origin is not None:
            fill(net, backbone.origin)
            writer.from_source = True
        return writer

    def loss(self, outputs: "Reading", y: Tensor) -> Tensor:
        """Mean cross-entropy over the wanted tokens of the batch."""
        y = narrowed(y)
        return functional.cross_entropy(
            outputs.logits(y).flatten(0, 1).float(),
            y.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self._smoothing,
        )

    def counted(self, y: Tensor) -> Tensor:
        """The wanted tokens."""
        return (y != IGNORED).sum()

    def scored(self, outputs: "Reading", y: Tensor) -> tuple[list[str], list[str]]:
        """What is written, and what is wanted, as texts."""
        return self._texts(outputs.written), self._texts(y)

    def probabilities(self, outputs: "Reading") -> None:
        """None: a sample has a text."""

    def metrics(self, outputs: int) -> MetricCollection:
        """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of the whole split, by sacrebleu, from 0 to 100."""
        # each keeps the texts; shared ones would be copied at every batch
        return MetricCollection({name: Written(scorer) for name, scorer in self._scorers.items()}, compute_groups=False)

    def _texts(self, ids: Tensor) -> list[str]:
        kept = [[one for one in row if one not in (IGNORED, self._input.end)] for row in ids.tolist()]
        return self._input.texts(kept)


class Writer(nn.Module):
    """A decoder of transformers as a head: states of what was read to whatever is asked of them.

    Args:
        net: the library's, without its encoder.
        end: id of the mark behind a text.
        padding: id.
        beams: of beam search.
        max_tokens: at most.
    """

    def __init__(self, net: Any, end: int, padding: int, beams: int, max_tokens: int) -> None:
        super().__init__()
        self.net = net
        self.from_source = False
        self.padding = padding
        # in place of the net's own, in which some types force or forbid ids
        net.generation_config = type(net.generation_config)(
            do_sample=False,
            num_beams=beams,
            max_new_tokens=max_tokens,
            eos_token_id=end,
            pad_token_id=padding,
            decoder_start_token_id=net.config.decoder_start_token_id,
        )

    def forward(self, value: Seq) -> "Reading":
        """Nothing is computed before it is asked for."""
        return Reading(self, value)


@dataclass(frozen=True, eq=False)
class Reading:
    """B texts that were read.

    Attributes:
        writer: asked for tokens.
        states: of what was read, (B, T, F).
    """

    writer: Writer
    states: Seq

    def logits(self, y: Tensor) -> Tensor:
        """Of each wanted token (B, T'), given those before it: (B, T', V)."""
        net = self.writer.net
        start = y.new_full((len(y), 1), net.config.decoder_start_token_id)
        before = torch.cat([start, y[:, :-1]], 1)
        given = before.masked_fill(before == IGNORED, self.writer.padding)
        said: Tensor = net(decoder_input_ids=given, use_cache=False, **self._read).logits
        return said

    @cached_property
    def written(self) -> Tensor:
        """Ids that the net writes by itself, (B, at most `max_tokens`), `IGNORED` behind the end's mark."""
        net = self.writer.net
        ids: Tensor = net.generate(**self._read)[:, 1:]
        over = (ids == net.generation_config.eos_token_id).cumsum(1) - (
            ids == net.generation_config.eos_token_id
        ).long()
        return ids.masked_fill(over > 0, IGNORED)

    @property
    def _read(self) -> dict[str, Any]:
        from transformers.modeling_outputs import BaseModelOutput

        return {
            "encoder_outputs": BaseModelOutput(last_hidden_state=self.states.h),
            "attention_mask": self.states.mask.long(),
        }


def narrowed(y: Tensor) -> Tensor:
    """Ids (B, T) without the columns that the batch's longest text leaves empty."""
    return y[:, : max(1, int((y != IGNORED).sum(1).max()))]


def _scorers(tokenize: str) -> dict[str, Any]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if tokenize not in BLEU.TOKENIZERS:
        raise unknown("task.tokenize", tokenize, sorted(BLEU.TOKENIZERS))
    # forced: no warning on texts that look as if their words had been set apart
    return {"bleu": BLEU(tokenize=tokenize, force=True), "chrf": CHRF()}
