"""A net that tells source from target by one vector a sample, and what it is trained on."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from transferlab.backbones.looking import outputs
from transferlab.errors import InputError
from transferlab.losses.base import Setting
from transferlab.losses.domains.reading import mean_vectors
from transferlab.losses.features.exact import full_precision
from transferlab.tasks.heads import mlp


@full_precision
def domain_cross_entropy(source: Tensor, target: Tensor) -> Tensor:
    """Tell source from target: `-(mean log D(x_s) + mean log(1 - D(x_t))) / 2`, D the sigmoid of a logit.

    Each domain weighs half, whatever n and m.

    Args:
        source: logits of being from the source (n,).
        target: likewise (m,).

    Returns:
        A scalar; log 2 where nothing tells them apart.
    """
    return (F.softplus(-source).mean() + F.softplus(target).mean()) / 2


class Discriminator(nn.Module):
    """Hidden layers of linear, ReLU and dropout, then one logit: (B, F) to (B,).

    Args:
        features: length of a vector, F.
        hidden: units of each hidden layer; none: a linear one.
        dropout: share of hidden units left out in training, in [0, 1).
    """

    def __init__(self, features: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.net = mlp(features, 1, widths=hidden, dropout=dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.net(vectors)
        return logits[:, 0]

    def still(self, vectors: Tensor) -> Tensor:
        """The logits, with a gradient for the vectors and none for the parameters."""
        logits: Tensor = functional_call(self, {name: p.detach() for name, p in self.named_parameters()}, (vectors,))
        return logits


def check(name: str, hidden: Sequence[int], dropout: float) -> None:
    """See that a loss's settings make a discriminator.

    Raises:
        InputError: a width or a share that is none.
    """
    if not all(isinstance(units, int) and units > 0 for units in hidden):
        raise InputError(f"strategy.losses.{name}.hidden={list(hidden)}: whole numbers above 0; [] for a linear one")
    if not 0 <= dropout < 1:
        raise InputError(f"strategy.losses.{name}.dropout={dropout}: a share in [0, 1)")


def length(setting: Setting) -> int:
    """How long the vectors are that `mean_vectors` makes of a run's features.

    Raises:
        InputError: it makes none of them.
    """
    last = setting.backbone.stages[-1]
    found = outputs(setting.backbone, setting.example, [last])[last]
    return mean_vectors(setting.backbone, found).shape[1]
