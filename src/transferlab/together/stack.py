"""Heads of several runs, trained by batched products: what each learns is what it learns alone, to round-off."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim import SGD, Adam, AdamW, Optimizer

from transferlab.fusing import aligned

OPTIMIZERS: tuple[type[Optimizer], ...] = (SGD, Adam, AdamW)
"""Whose state does not depend on the learning rate, which scales the step alone."""
_OWN = ("params", "name", "lr", "initial_lr", "weight_decay")


class Stack:
    """R heads of one form, each with a learning rate and a weight decay of its own.

    Args:
        heads: of the same modules and shapes, without anything random or running in them.
        loss: of one head's outputs (B, ...) and labels (B, ...), a scalar.
        kind: the optimiser's class, one of `OPTIMIZERS`.
        groups: the parameter group of each head, all alike but in rate and weight decay.
    """

    def __init__(
        self,
        heads: Sequence[nn.Module],
        loss: Callable[[Any, Tensor], Tensor],
        kind: type[Optimizer],
        groups: Sequence[Mapping[str, Any]],
    ) -> None:
        self.heads, self._loss = heads, loss
        self.parameters, self._buffers = stack_module_state(list(heads))
        # every parameter's direction at a rate of 1: where an optimiser takes zeros for weights that have no decay
        self._steps = {name: nn.Parameter(torch.zeros_like(value)) for name, value in self.parameters.items()}
        group = {**options(groups[0]), "params": list(self._steps.values()), "lr": 1.0, "weight_decay": 0.0}
        self._optimizer = aligned(cast(Any, kind)([group]))
        self._decoupled = bool(self._optimizer.param_groups[0].get("decoupled_weight_decay", kind is AdamW))
        # which turns gradients round before it adds the decay
        self._sign = -1.0 if group.get("maximize") else 1.0
        self._decays = torch.tensor([float(group["weight_decay"]) for group in groups], dtype=torch.float64)

    def step(self, x: Tensor, y: Tensor, rates: Sequence[float]) -> Tensor:
        """One step of each head.

        Args:
            x: features (R, B, F); or (S, B, F), of which each is seen by the next R / S heads.
            y: labels (R, B, ...).
            rates: the learning rate of each head, R.

        Returns:
            The losses before the step, (R,).
        """
        with torch.enable_grad():
            losses = self.losses(x, y)
            gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        self._move(gradients, torch.tensor(rates, dtype=torch.float64))
        return losses.detach()

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Of each head, (R,); features and labels as for `step`."""
        outputs = self._outputs(x)
        found: Tensor = vmap(self._loss)(outputs, y)
        return found

    def _outputs(self, x: Tensor) -> Any:
        if type(self.heads[0]) is nn.Linear and self.heads[0].bias is not None:
            return _Linear.apply(x, self.parameters["weight"], self.parameters["bias"])
        x = x.repeat_interleave(len(self.heads) // len(x), 0)

        def one(parameters: Any, buffers: Any, x: Tensor) -> Any:
            return functional_call(self.heads[0], (parameters, buffers), (x,))

        return vmap(one)(self.parameters, self._buffers, x)

    @torch.no_grad()
    def hand_out(self, number: int) -> None:
        """Put what one head has learned so far into its module."""
        own = dict(self.heads[number].named_parameters())
        for name, values in self.parameters.items():
            own[name].copy_(values[number])

    @torch.no_grad()
    def _move(self, gradients: Sequence[Tensor], rates: Tensor) -> None:
        """The optimiser's step: gradient, decay, rate, in the order in which torch has them."""
        for (name, values), gradient in zip(self.parameters.items(), gradients, strict=True):
            decay = _beside(self._decays, values)
            self._steps[name].grad = gradient if self._decoupled else gradient + self._sign * decay * values
            self._steps[name].zero_()
        self._optimizer.step()
        for name, values in self.parameters.items():
            rate = _beside(rates, values)
            if self._decoupled:
                values.mul_(_beside(1 - rates * self._decays, values))
            values.addcmul_(rate, self._steps[name])


class _Linear(torch.autograd.Function):
    """R linear layers on S batches, (S, B, F) to (R, B, C): those that see one batch are one product.

    Torch's own of each layer by itself multiplies backwards in an order that takes several times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        heads, classes, features = weight.shape
        beside = weight.reshape(len(x), -1, features)
        found = torch.baddbmm(bias.reshape(len(x), 1, -1), x, beside.mT)
        return found.reshape(*x.shape[:2], -1, classes).transpose(1, 2).reshape(heads, -1, classes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        (x,) = ctx.saved_tensors
        heads, _, classes = gradient.shape
        beside = gradient.mT.reshape(len(x), -1, gradient.shape[1])
        return None, beside.bmm(x).reshape(heads, classes, -1), gradient.sum(1)


def options(group: Mapping[str, Any]) -> dict[str, Any]:
    """What of a parameter group its heads must have in common."""
    return {name: value for name, value in group.items() if name not in _OWN}


def _beside(numbers: Tensor, values: Tensor) -> Tensor:
    """One number a head, of the kind and with the dimensions of values (R, ...)."""
    return numbers.to(values).reshape(-1, *[1] * (values.ndim - 1))
