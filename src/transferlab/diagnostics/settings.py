"""Which diagnostics a run has: the switches of `conf/diagnostics`, and what they switch on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transferlab.data.module import TransferData
from transferlab.diagnostics import saliency
from transferlab.diagnostics.base import Diagnostic
from transferlab.diagnostics.calibration import CalibrationError
from transferlab.diagnostics.cka import CKA
from transferlab.diagnostics.conflict import GradientCosine
from transferlab.diagnostics.drift import Drift
from transferlab.diagnostics.forgetting import MOST
from transferlab.diagnostics.rank import FeatureRank
from transferlab.diagnostics.watch import Rows, Watch
from transferlab.errors import InputError
from transferlab.module import TransferModule


@dataclass(frozen=True)
class Settings:
    """The settings of `conf/diagnostics/_base.yaml`, which says what each means.

    Raises:
        InputError: a share outside (0, 1], or too few samples for any estimate.
    """

    share: float
    probe: int
    drift: bool
    cka: bool
    feature_rank: bool
    gradient_cosine: bool
    calibration_error: bool
    forgetting: bool
    privacy: bool
    privacy_samples: int
    saliency: Mapping[str, Sequence[int]]

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"diagnostics.share={self.share}: above 0, at most 1; diagnostics=none has none at all")
        if self.probe < 4:
            raise InputError(f"diagnostics.probe={self.probe}: at least 4 samples")
        if self.privacy_samples < 2:
            raise InputError(f"diagnostics.privacy_samples={self.privacy_samples}: at least 2 samples")

    @property
    def samples(self) -> Sequence[int]:
        """Positions of the test samples that the saliency picture shows."""
        return self.saliency["samples"]

    def watch(self, history: Rows, from_source: bool, pretrained: bool) -> Watch:
        """What measures during a run.

        Args:
            history: whose rows are added to.
            from_source: whether there is a source network to compare with.
            pretrained: whether it was pretrained here.
        """
        parts: dict[str, type[Diagnostic]] = {
            "drift": Drift,
            "cka": CKA,
            "feature_rank": FeatureRank,
            "gradient_cosine": GradientCosine,
            "calibration_error": CalibrationError,
        }
        chosen = [part() for name, part in parts.items() if getattr(self, name) and (name != "cka" or from_source)]
        exam = MOST if self.forgetting and from_source and pretrained else 0
        return Watch(chosen, self.share, self.probe, exam, history)

    def check(self, module: TransferModule, data: TransferData) -> None:
        """See that the picture can be drawn, before anything trains.

        Raises:
            InputError: no such test sample, or a net without a stage whose outputs are images.
        """
        if self.samples:
            saliency.check(self.samples, module, data)


OFF = Settings(1.0, 4, False, False, False, False, False, False, False, 2, {"samples": ()})
"""What a source's own run has."""
