"""EWC: stay near the starting point where the source's task needs it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, Study, TransferLoss
from transferlab.losses.teacher import Teacher
from transferlab.losses.weight import Weight
from transferlab.losses.weights.anchors import Anchors, squared
from transferlab.tasks.base import Task, observe
from transferlab.values import Value, chunks

_READ = 256  # samples at a time


def ewc(weights: Iterable[Tensor], start: Iterable[Tensor], fisher: Iterable[Tensor], strength: float) -> Tensor:
    """Pull each weight towards where it started, by how much the source's task depends on it.

    `lambda / 2 * sum_i F_i (w_i - w_i^0)^2`: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural
    networks" (PNAS), equation 3.

    Args:
        weights: parameters of any shapes.
        start: their values before training, in the same order and shapes.
        fisher: the diagonal of the Fisher information, likewise; not negative.
        strength: lambda.

    Returns:
        A scalar.
    """
    parts = zip(weights, start, fisher, strict=True)
    return strength / 2 * sum(((f * (w - w0).square()).sum() for w, w0, f in parts), torch.zeros(()))


def empirical_fisher(losses: Iterable[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """How sharply the likelihood of labels falls where a weight moves: the mean square of single samples' gradients.

    The diagonal of the empirical Fisher information, `F_i = 1 / n * sum_n (d loss_n / d w_i)^2`, at the labels that
    the samples have; the loss is the negative logarithm of their likelihood.

    Args:
        losses: of n samples, one at a time, each a scalar.
        weights: that the losses depend on, of any shapes; one on which a loss does not depend counts as 0 there.

    Returns:
        One tensor a weight, of its shape.
    """
    sums, count = [torch.zeros_like(w) for w in weights], 0
    for loss in losses:
        for total, gradient in zip(sums, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            if gradient is not None:
                total += gradient.square()
        count += 1
    return [total / count for total in sums]


class EWC(TransferLoss):
    """`ewc` on what comes from the source, the Fisher information being that of the source's task at the start.

    A new head is pulled towards zero, as L2-SP does; both take the place of weight decay.

    Args:
        weight: of the whole term.
        strength: lambda.
        beta: on a new head, towards zero.
        samples: of the source's training split that the Fisher information is measured on, evenly spaced; None: all.

    Raises:
        InputError: no samples.
    """

    studies = frozenset({"source"})
    asks = "once"
    replaces_weight_decay = True

    def __init__(self, weight: Weight, strength: float, beta: float, samples: int | None) -> None:
        super().__init__(weight)
        if samples is not None and samples < 1:
            raise InputError(f"strategy.losses.ewc.samples={samples}: at least 1, or null for all")
        self.strength, self.beta, self.samples = strength, beta, samples
        self.anchors = Anchors()
        self._source = ""
        self._task: Task | None = None

    def prepare(self, setting: Setting) -> None:
        """Keep the starting point, and find the source's own head.

        Raises:
            InputError: the run starts from no source, or from one without data or without a classifier of its own.
        """
        self.anchors.keep(setting, "ewc")
        if "source" not in setting.classes:
            raise InputError("loss 'ewc' reads source data, but this source has none; choose e.g. source=mnist5k")
        self._source = self._found(setting)
        for number, start in enumerate(self.anchors.start):
            self.register_buffer(f"fisher_{number}", torch.zeros_like(start))

    def study(self, study: Study) -> None:
        """Measure the Fisher information.

        Raises:
            InputError: no weight matters to the source's task.
        """
        teacher = study.teachers[self._source]
        weights = self.anchors.shared(teacher.backbone, _head(teacher))
        with _reached_by_gradients(weights):
            fisher = empirical_fisher(self._losses(study, teacher), weights)
        if not any(one.any() for one in fisher):
            raise InputError(
                "loss 'ewc': the source's loss has no gradient on its own samples, so its Fisher information is 0: "
                "raise strategy.losses.ewc.samples, or choose strategy=l2_sp"
            )
        for kept, one in zip(self._fisher, fisher, strict=True):
            kept.copy_(one)

    def forward(self, step: Step) -> Tensor:
        """The penalty at the present weights."""
        shared, new = self.anchors.shared(step.backbone, step.head), self.anchors.new(step.head)
        return ewc(shared, self.anchors.start, self._fisher, self.strength) + self.beta / 2 * squared(new)

    @property
    def _fisher(self) -> list[Tensor]:
        return [self.get_buffer(f"fisher_{number}") for number in range(len(self.anchors.start))]

    def _found(self, setting: Setting) -> str:
        """The teacher that is the net as the run starts."""
        for name, teacher in setting.teachers_for("ewc").items():
            if not _same(setting.backbone, teacher.backbone):
                continue
            self._task = teacher.task or setting.source_task
            if teacher.head is None or self._task is None:
                raise InputError(
                    "loss 'ewc' reads the source's own loss, and this source came without its classifier: choose a "
                    "source that is pretrained here on classes, or a checkpoint of such a run"
                )
            if teacher.task is None and (known := _outputs(teacher, setting)) != setting.classes["source"]:
                raise InputError(
                    f"loss 'ewc': the source's classifier knows {known} classes, its data have "
                    f"{setting.classes['source']}: source.weights and source.data are to belong together"
                )
            if not _alike(self.anchors.shared(teacher.backbone, teacher.head), self.anchors.start):
                raise InputError(
                    "loss 'ewc': the head comes from the source, but the source's own is of another shape: set "
                    "strategy.head=new and a task.head that starts at random"
                )
            return name
        raise InputError(
            "loss 'ewc' reads the source's own net, which is none of strategy.teachers: add "
            "+strategy/teacher@strategy.teachers.source=source"
        )

    def _losses(self, study: Study, teacher: Teacher) -> Iterator[Tensor]:
        head, task = _head(teacher), self._task
        assert task is not None
        for x, y in _spread(study, self.samples):
            yield task.loss(observe(teacher.backbone, head, x)[2], y)


def _outputs(teacher: Teacher, setting: Setting) -> int:
    """How many classes a published classifier knows."""
    return int(teacher.observe(setting.example, torch.empty(0)).outputs.shape[1])


def _head(teacher: Teacher) -> nn.Module:
    assert teacher.head is not None
    return teacher.head


def _same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = list(first.parameters()), list(second.parameters())
    return _alike(ours, theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _alike(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return [tensor.shape for tensor in first] == [tensor.shape for tensor in second]


def _spread(study: Study, most: int | None) -> Iterator[tuple[Value, Tensor]]:
    """Single samples of the source, evenly spaced: a set may be sorted by class."""
    count = sum(len(y) for _, y in study.batches("source", _READ))
    chosen = set(torch.linspace(0, count - 1, min(most or count, count)).round().long().tolist())
    place = 0
    for x, y in study.batches("source", _READ):
        for one in zip(chunks(x, len(y)), torch.split(y, 1), strict=True):
            if place in chosen:
                yield one
            place += 1


@contextmanager
def _reached_by_gradients(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within, the weights of a net that never trains have gradients."""
    for weight in weights:
        weight.requires_grad_()
    try:
        # cuDNN has no backward pass through a recurrent layer in evaluation mode
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)
