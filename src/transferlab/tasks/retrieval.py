"""Image-text retrieval: the text that belongs to an image, and the image that belongs to a text."""

from collections.abc import Sequence
from math import log
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from transferlab.backbones.base import Backbone
from transferlab.backbones.two_tower import Towers
from transferlab.errors import InputError
from transferlab.tasks.labels import described
from transferlab.values import Value

Side: TypeAlias = Literal["image", "text"]

_STEEPEST = 100.0  # Radford et al. 2021, section 2.5
_RANKS = (1, 5, 10)
_CHUNK = 1024


class Matched(NamedTuple):
    """What the head says of B pairs.

    Attributes:
        image: on the unit sphere of the common space, (B, D).
        text: likewise.
        scale: of their cosines, a scalar.
    """

    image: Tensor
    text: Tensor
    scale: Tensor


def info_nce(similarity: Tensor, same: Tensor) -> Tensor:
    """Draw what belongs together near, against all else in the batch, from both sides.

    With one partner each it is CLIP's loss: Radford et al. 2021, "Learning Transferable Visual Models From Natural
    Language Supervision" (ICML), figure 3. With several, each is worth an equal share, as in Yang et al. 2022, "Unified
    Contrastive Learning in Image-Text-Label Space" (CVPR), equations 2 and 3.

    Args:
        similarity: scaled cosines of images (rows) and texts (columns), (B, B).
        same: which belong together, (B, B) bool, at least one in every row and column.

    Returns:
        A scalar, the mean over both sides.
    """
    sides = [
        F.cross_entropy(scores, wanted.to(scores) / wanted.sum(1, keepdim=True))
        for scores, wanted in ((similarity, same), (similarity.T, same.T))
    ]
    return torch.stack(sides).mean()


class Retrieval:
    """Contrastive loss between the pairs of a batch; recall over the whole split in [0, 1].

    Labels (B,) say what belongs together: an image's own number on each of its captions, or the class of an image and
    of its prompt. The loss looks at one batch, so its size changes with `batch_size`; recall does not.

    Args:
        dimensions: of the common space.
        temperature: by which cosines are divided, at first; it is learned.
        positives: in the loss; `pair`: the sample's own partner alone, all others are wrong | `label`: every partner of
            the same label.
        repeated: `image` where one image has several texts of its own, `text` where all images of a label have one text
            (prompts of classes): it counts once among what is searched.
        metric: by which an epoch is chosen.

    Raises:
        InputError: words or numbers that are none of these.
    """

    dense = False
    reconstructs = False

    def __init__(
        self,
        dimensions: int,
        temperature: float,
        positives: Literal["pair", "label"],
        repeated: Side,
        metric: str,
    ) -> None:
        for key, value, words in (
            ("positives", positives, ("pair", "label")),
            ("repeated", repeated, ("image", "text")),
        ):
            if value not in words:
                raise InputError(f"task.{key}={value}: '{words[0]}' or '{words[1]}'")
        if dimensions < 1 or temperature < 1 / _STEEPEST:
            raise InputError(
                f"task.dimensions={dimensions} task.temperature={temperature}: at least 1, and at least {1 / _STEEPEST}"
            )
        self._dimensions, self._temperature = dimensions, temperature
        self._by_label, self._repeated = positives == "label", repeated
        self.metric = metric

    def fit(self, y: Tensor, outputs: int) -> None:
        """See that the labels say what belongs together.

        Raises:
            InputError: they do not.
        """
        if y.ndim != 1 or y.is_floating_point():
            raise InputError(
                f"task=retrieval takes pairs with one number each, these labels are {described(y)}: choose "
                "target=captions or target=prompted, or another task"
            )

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new projection of each tower into the common space.

        Raises:
            InputError: the backbone is no pair of towers.
        """
        if not isinstance(backbone.net, Towers):
            raise InputError(
                f"task=retrieval compares images with texts, backbone '{backbone.name}' is one net: choose "
                "backbone=two_tower"
            )
        return Projections(backbone.net.widths, self._dimensions, self._temperature)

    def loss(self, outputs: Matched, y: Tensor) -> Tensor:
        """`info_nce` over the batch."""
        same = y[:, None] == y if self._by_label else torch.eye(len(y), dtype=torch.bool, device=y.device)
        return info_nce(outputs.scale * outputs.image @ outputs.text.T, same)

    def scored(self, outputs: Matched, y: Tensor) -> tuple[Matched, Tensor]:
        """As they are."""
        return outputs, y

    def probabilities(self, outputs: Matched) -> None:
        """None: what there is to choose from is the split itself."""

    def metrics(self, outputs: int) -> MetricCollection:
        """Recall at 1, 5 and 10 of texts for images and of images for texts; `recall_1` is the mean of both at 1."""
        sides: tuple[Side, ...] = ("text", "image")
        found: dict[str, Metric | MetricCollection] = {
            f"{side}_recall_{rank}": Recall(rank, [side], self._repeated) for side in sides for rank in _RANKS
        }
        # each keeps the pairs; shared ones would be copied at every batch
        return MetricCollection(found | {"recall_1": Recall(1, sides, self._repeated)}, compute_groups=False)


class Projections(nn.Module):
    """Both towers' features, each by a matrix of its own, on the unit sphere; and a learned temperature.

    Radford et al. 2021, figure 3; the scale starts at 1 / temperature and is never above 100 (section 2.5).

    Args:
        widths: features of the images' tower and of the texts'.
        dimensions: of the common space.
        temperature: at first.
    """

    def __init__(self, widths: Sequence[int], dimensions: int, temperature: float) -> None:
        super().__init__()
        self.widths = list(widths)
        self.image, self.text = (nn.Linear(width, dimensions, bias=False) for width in widths)
        self.log_scale = nn.Parameter(torch.tensor(-log(temperature)))

    def forward(self, features: Tensor) -> Matched:
        """Of features side by side, (B, sum of widths)."""
        image, text = torch.split(features, self.widths, 1)
        return Matched(
            F.normalize(self.image(image)), F.normalize(self.text(text)), self.log_scale.exp().clamp(max=_STEEPEST)
        )


class Recall(Metric):
    """The share of queries that find a partner among the first `rank` of all that is searched, over a whole split.

    A query is compared with every item of the other side; whatever has its label is a partner. Of equal cosines the
    wrong one counts as nearer, so that a net that has collapsed finds nothing.

    Args:
        rank: how many are looked at.
        sought: `text` for images, `image` for texts; of both the mean.
        repeated: the side on which all samples of one label are one item.
    """

    full_state_update = False

    def __init__(self, rank: int, sought: Sequence[Side], repeated: str) -> None:
        super().__init__()
        self.rank, self.sought, self.repeated = rank, tuple(sought), repeated
        for name in ("image", "text", "y"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, outputs: Matched, y: Tensor) -> None:
        """Keep a batch's pairs."""
        for kept, new in ((self.image, outputs.image), (self.text, outputs.text), (self.y, y)):
            assert isinstance(kept, list)
            kept.append(new.detach())

    def compute(self) -> Tensor:
        """The share."""
        y = dim_zero_cat(self.y)  # type: ignore[arg-type]
        sides = {side: self._items(side, y) for side in ("image", "text")}
        shares = [
            (ranks(*sides["image" if side == "text" else "text"], *sides[side]) <= self.rank).float().mean()
            for side in self.sought
        ]
        return torch.stack(shares).mean()

    def _items(self, side: str, y: Tensor) -> tuple[Tensor, Tensor]:
        vectors = dim_zero_cat(getattr(self, side)).float()
        if side == self.repeated:
            return merged(vectors, y)
        return vectors, y


def merged(vectors: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """One item for each label: the mean direction of its samples, (L, D), and the labels (L,).

    Of copies of one thing it is that thing; of several prompts of a class CLIP's ensemble of them (section 3.1.4).
    """
    labels, group = torch.unique(y, return_inverse=True)
    sums = vectors.new_zeros(len(labels), vectors.shape[1]).index_add_(0, group, vectors)
    return F.normalize(sums), labels


def ranks(queries: Tensor, query_y: Tensor, items: Tensor, item_y: Tensor) -> Tensor:
    """The place, from 1, of each query's nearest partner among all items, (Q,).

    Args:
        queries: unit vectors (Q, D).
        query_y: their labels (Q,), each of which some item has.
        items: unit vectors (N, D).
        item_y: their labels (N,).
    """
    found = []
    for rows, labels in zip(torch.split(queries, _CHUNK), torch.split(query_y, _CHUNK), strict=True):
        cosines, partner = rows @ items.T, labels[:, None] == item_y
        nearest = cosines.masked_fill(~partner, -torch.inf).amax(1, keepdim=True)
        found.append(((cosines >= nearest) & ~partner).sum(1) + 1)
    return torch.cat(found)
