"""Knowledge distillation: give the answers that a teacher gives."""

from torch import Tensor
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.outputs.answers import above_zero, answering
from transferlab.losses.weight import Weight


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Bring softened probabilities to a teacher's: `T^2 * KL(softmax(z_t / T) || softmax(z_s / T))`, the batch's mean.

    Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531), section 2: the
    gradients of soft targets shrink as 1 / T^2, which the factor takes back. Their cross-entropy differs from the
    divergence by the teacher's entropy, which has no gradient; so the loss is 0 where both agree.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        temperature: T, above 0; 1 leaves the probabilities as they are.

    Returns:
        A scalar.
    """
    said = F.log_softmax(student / temperature, 1)
    wanted = F.log_softmax(teacher / temperature, 1)
    return temperature**2 * F.kl_div(said, wanted, reduction="batchmean", log_target=True)


class KD(TransferLoss):
    """`distillation` from teachers that know the target's own classes.

    Args:
        weight: of the term beside the task loss.
        temperature: T.

    Raises:
        InputError: a temperature of 0 or less.
    """

    asks = "each step"

    def __init__(self, weight: Weight, temperature: float) -> None:
        super().__init__(weight)
        self.temperature = above_zero("strategy.losses.kd.temperature", temperature)

    def prepare(self, setting: Setting) -> None:
        """See that each teacher knows as many classes as the head has outputs.

        Raises:
            InputError: there is no teacher, or one of other classes.
        """
        own = setting.classes["target"]
        for name, (_, classes) in answering(setting, "kd").items():
            if classes != own:
                raise InputError(
                    f"loss 'kd': the teacher '{name}' knows {classes} classes, the target has {own}: choose "
                    "strategy=lwf or co_tuning, or a teacher that was trained on the target's classes"
                )

    def forward(self, step: Step) -> Tensor:
        """The loss of the target's batch."""
        student = step.domain("target", "kd").outputs
        return step.by_teachers(lambda name: distillation(student, step.taught[name].outputs, self.temperature))
