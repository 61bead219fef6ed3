"""DP-SGD: steps along gradients that are clipped sample by sample, with noise; and the epsilon that they cost."""

import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.precision import DoublePrecision, Precision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD

from transferlab.data.module import TransferData
from transferlab.errors import InputError
from transferlab.extras import library
from transferlab.listening import Listener
from transferlab.module import TransferModule
from transferlab.optim import BuildOptimizer
from transferlab.stepping import plain
from transferlab.tasks.base import Counting

ACCOUNTANT = "rdp"
"""Rényi differential privacy (Mironov 2017) of the subsampled Gaussian mechanism, Opacus's accountant of this name."""
_OTHER = "choose a backbone without it, e.g. backbone=mlp, or freeze its stage, e.g. strategy=linear_probe"


def private_mean(gradients: Sequence[Tensor], max_grad_norm: float, noise_multiplier: float) -> list[Tensor]:
    """The noisy mean of clipped gradients: `1 / B (sum_i g_i min(1, C / |g_i|) + N(0, (sigma C)^2))`.

    Abadi et al. 2016, "Deep Learning with Differential Privacy" (CCS), algorithm 1. The noise is from torch's global
    generator.

    Args:
        gradients: of each parameter, sample by sample, (B, ...); the norm of a sample's is over all of them.
        max_grad_norm: C.
        noise_multiplier: sigma.

    Returns:
        For each parameter, in its shape.
    """
    count = len(gradients[0])
    norms = torch.stack([one.reshape(count, -1).norm(dim=1) for one in gradients]).norm(dim=0)
    factors = (max_grad_norm / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp(max=1)
    sums = [torch.einsum("i,i...->...", factors, one) for one in gradients]
    return [(one + noise_multiplier * max_grad_norm * torch.randn_like(one)) / count for one in sums]


class DPSGD(SGD):
    """SGD along the noisy mean of clipped gradients.

    Args:
        params: parameters or groups.
        lr: learning rate.
        momentum: of SGD.
        noise_multiplier: standard deviation of the noise, as a multiple of `max_grad_norm`.
        max_grad_norm: L2 norm that a sample's gradient is clipped to.
        delta: at which epsilon is told.
        hooks: Opacus's, which leave gradients sample by sample; `attached` gives them.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float,
        noise_multiplier: float,
        max_grad_norm: float,
        delta: float,
        hooks: Any = None,
    ) -> None:
        for key, value in (("noise_multiplier", noise_multiplier), ("max_grad_norm", max_grad_norm)):
            if not value > 0:
                raise InputError(f"optimizer.{key}={value}: a number above 0")
        if not 0 < delta < 1:
            raise InputError(f"optimizer.delta={delta}: a probability in (0, 1)")
        super().__init__(params, lr=lr, momentum=momentum)
        self.noise_multiplier, self.max_grad_norm, self.delta = noise_multiplier, max_grad_norm, delta
        self.hooks = hooks

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # without one there is no sample
        """Run the closure, and step along what its backward pass left of each sample.

        Raises:
            InputError: a parameter's gradient is not known sample by sample.
        """
        self.hooks.enable_hooks()
        try:
            with torch.enable_grad():
                loss = closure()
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) or not _in_opacus(error):
                raise
            # a layer that is called by keyword, say, or that draws random numbers and of which it has no formula
            what = f"{type(error).__name__}: {error}"
            raise InputError(f"optimizer=dp_sgd: Opacus cannot follow a layer ({what}); {_OTHER}") from error
        finally:
            self.hooks.disable_hooks()
        parameters = [one for group in self.param_groups for one in group["params"] if one.requires_grad]
        gradients = self._taken(parameters)
        means = private_mean(gradients, self.max_grad_norm, self.noise_multiplier)
        for parameter, mean in zip(parameters, means, strict=True):
            parameter.grad = mean
        super().step()
        return loss

    def _taken(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        gradients = [getattr(one, "grad_sample", None) for one in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if not isinstance(gradient, Tensor) or len(gradient) != len(gradients[0]):  # type: ignore[arg-type]
                names = {id(one): name for name, one in self.hooks._module.named_parameters()}
                raise InputError(
                    f"optimizer=dp_sgd: of {names.get(id(parameter))} Opacus gives no gradient of each sample; {_OTHER}"
                )
            parameter.grad_sample = None  # type: ignore[attr-defined]
        return gradients  # type: ignore[return-value]


def check(module: TransferModule, data: TransferData, trainer: Trainer, mixes: bool) -> None:
    """See, where a run's optimiser is this one, that what it promises holds of the run.

    Args:
        module: with its optimiser as the config gives it.
        data: that it trains on.
        trainer: that fits it.
        mixes: whether augmentation makes one sample of several.

    Raises:
        InputError: Opacus is missing, a sample enters the weights otherwise than by its own gradient, or a layer that
            trains mixes samples.
    """
    if not _is_private(module.build_optimizer):
        return
    module.build_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])  # so that its numbers are checked
    if has := _beside_gradients(module, data, int(trainer.max_epochs or 1), mixes):
        raise InputError(f"optimizer=dp_sgd trains on labels of one domain by the task loss alone, and {has}")
    if not plain(trainer) or type(trainer.precision_plugin) not in (Precision, DoublePrecision):
        raise InputError(
            "optimizer=dp_sgd takes plain steps: one device, trainer.precision=32-true or 64-true, and neither "
            "trainer.gradient_clip_val nor trainer.accumulate_grad_batches"
        )
    module.freeze_in(0)
    for name, layer in module.named_modules():
        if why := _unsupported(layer):
            raise InputError(f"optimizer=dp_sgd: {name} is a {type(layer).__name__}, {why}; {_OTHER}")


def attached(module: TransferModule) -> BuildOptimizer:
    """What builds a module's optimiser; Opacus's hooks are on the module first, where the optimiser is this one."""
    build = module.build_optimizer
    if not _is_private(build):
        return build
    module.freeze_in(0)
    for layer in module.modules():
        if getattr(layer, "inplace", False):
            layer.inplace = False  # type: ignore[assignment]  # a hook's output must not be changed in place
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # inputs of the first layer have no gradient
    hooks = _opacus("grad_sample").grad_sample_module.GradSampleHooks(module, strict=False)
    hooks.disable_hooks()
    return partial(DPSGD, **{**build.keywords, "hooks": hooks})  # type: ignore[attr-defined]


def epsilon(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """The epsilon of (epsilon, delta)-differential privacy that steps with Poisson sampling would cost.

    Args:
        noise_multiplier: standard deviation of the noise over the norm that gradients are clipped to.
        sample_rate: with which a sample is in a batch, in (0, 1].
        steps: that were taken.
        delta: in (0, 1).
    """
    accountant = _opacus("accountants").RDPAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    return float(accountant.get_epsilon(delta=delta))


def spent(trainer: Trainer, samples: int, batch_size: int) -> dict[str, Any] | None:
    """What a run has cost in privacy so far; None where its optimiser is another.

    Args:
        trainer: after its last step.
        samples: trained on in an epoch.
        batch_size: of a step.
    """
    optimizer = trainer.optimizers[0] if trainer.optimizers else None
    if not isinstance(optimizer, DPSGD):
        return None
    rate, steps = min(1.0, batch_size / samples), int(trainer.global_step)
    return {
        "epsilon": epsilon(optimizer.noise_multiplier, rate, steps, optimizer.delta) if steps else 0.0,
        "delta": optimizer.delta,
        "accountant": ACCOUNTANT,
        "assumes": "poisson sampling",
        "sample_rate": rate,
        "steps": steps,
    }


def _is_private(build: BuildOptimizer) -> bool:
    return getattr(build, "func", None) is DPSGD


def _beside_gradients(module: TransferModule, data: TransferData, epochs: int, mixes: bool) -> str | None:
    """By what else than its own gradient a training sample enters the weights; None: by nothing."""
    strategy = module.strategy
    if set(data.sets.domains) != {"target"}:
        return f"this run reads {', '.join(sorted(data.sets.domains))}"
    if strategy.beyond_head is not None:
        return strategy.beyond_head
    if strategy.solver is not None:
        return "the strategy solves for its head"
    if isinstance(strategy.freezing, Listener):
        return "the strategy freezes by what it measures"
    if len({frozenset(strategy.trainable(module.stages, epoch)) for epoch in range(epochs)}) > 1:
        return "the strategy trains other stages in other epochs"
    if isinstance(module.task, Counting):
        return "the task's loss is a mean over labels, of which a sample has none or several"
    return "augmentation mixes samples: set augmentation=none" if mixes else None


def _unsupported(layer: nn.Module) -> str | None:
    if isinstance(layer, _BatchNorm) and layer.training:
        return "which mixes the samples of a batch"
    if any(one.requires_grad for one in layer.parameters(recurse=False)):
        validators = _opacus("validators").ModuleValidator.VALIDATORS
        if type(layer) in validators and validators[type(layer)](layer):
            return "of which Opacus gives no gradient of each sample"
        if list(layer.buffers()):
            return "which keeps numbers beside its weights"
    return None


def _in_opacus(error: Exception) -> bool:
    """Whether an error arose in Opacus, or in what it called."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).startswith("opacus.") for frame, _ in frames)


def _opacus(part: str) -> Any:
    """A part of the library of per-sample gradients and accounting.

    Raises:
        InputError: it is not installed.
    """
    return library(f"opacus.{part}", "optimizer=dp_sgd trains by Opacus", "privacy")
