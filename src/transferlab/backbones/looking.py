"""What a backbone's stages give, seen without a trace."""

from collections.abc import Collection
from typing import Any

import torch

from transferlab.backbones.base import Backbone
from transferlab.values import Value


@torch.no_grad()
def outputs(backbone: Backbone, example: Value, stages: Collection[str]) -> dict[str, Any]:
    """What stages make of a small input in evaluation mode; the backbone stays as it was."""
    mode = backbone.training
    try:
        return backbone.eval().observe(example, stages)[1]
    finally:
        backbone.train(mode)
