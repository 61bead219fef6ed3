"""What keeps formulas on activations exact: full precision under autocast, directions that are defined at zero."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, cast

import torch
from torch import Tensor

P = ParamSpec("P")


def full_precision(formula: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Compute a formula outside autocast and half-precision tensors as float32, where squares do not overflow."""

    @wraps(formula)
    def computed(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(arg.device.type for arg in args if isinstance(arg, Tensor))
        with torch.autocast(device, enabled=False):
            return cast(Callable[..., Tensor], formula)(*map(_full, args), **kwargs)

    return computed


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., F) of length 1; one of length 0 stays 0, with a gradient that is finite."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    found: Tensor = vectors / length.where(length > 0, 1)
    return found


def _full(value: Any) -> Any:
    small = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if small else value
