"""Saliency: where in an image the net looks, for chosen test samples."""

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.data.module import TransferData
from transferlab.diagnostics.probe import Probe, undisturbed
from transferlab.errors import InputError
from transferlab.module import TransferModule
from transferlab.tasks.base import observe

FILE = "saliency.png"


def grad_cam(activations: Tensor, scores: Tensor) -> Tensor:
    """Grad-CAM: the feature maps that raise a class's score, weighted by how much they do.

    `ReLU(sum_k a_k A^k)` with `a_k = mean_ij dy / dA^k_ij`: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from
    Deep Networks via Gradient-based Localization" (ICCV), equations 1 and 2.

    Args:
        activations: A of a convolutional stage, (B, K, H, W), part of the graph of `scores`.
        scores: y of one class for each sample, before any softmax, (B,).

    Returns:
        Maps (B, H, W), at least 0.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), activations)
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * activations).sum(1).relu().detach()


def maps_of(backbone: Backbone, head: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """`grad_cam` of the predicted class on the last stage whose outputs are images.

    Args:
        backbone: in evaluation mode.
        head: likewise.
        x: inputs (B, C, H, W), normalised.

    Returns:
        Maps (B, h, w) and predicted classes (B,).

    Raises:
        InputError: no stage gives images.
    """
    with torch.no_grad():
        kept = backbone.observe(x, backbone.stages)[1]
    spatial = [stage for stage in backbone.stages if kept[stage].ndim == 4]
    if not spatial:
        raise InputError(
            f"diagnostics.saliency.samples: no stage of backbone '{backbone.name}' gives images to draw a map on; "
            "set diagnostics.saliency.samples=[]"
        )
    # entered anew behind that stage, so that a frozen net has a gradient too
    activations = kept[spatial[-1]].clone().requires_grad_()
    with torch.enable_grad():
        # times one: a stage that works in place may not do so on a leaf
        outputs = head(backbone(activations * 1, start=backbone.stages[backbone.stages.index(spatial[-1]) + 1]))
        if outputs.shape[1] == 1:  # one logit speaks for the second of two classes and against the first
            outputs = torch.cat([-outputs, outputs], 1)
        predicted = outputs.argmax(1)
        return grad_cam(activations, outputs.gather(1, predicted[:, None])[:, 0]), predicted


def check(samples: Sequence[int], module: TransferModule, data: TransferData) -> None:
    """See that the picture can be drawn, before anything trains.

    Raises:
        InputError: no such test sample, or a net without a stage whose outputs are images.
    """
    wrong = [sample for sample in samples if type(sample) is not int or not 0 <= sample < len(data.sets.test)]
    if wrong:
        raise InputError(
            f"diagnostics.saliency.samples={list(samples)}: there is no test sample {wrong[0]}; "
            f"they are counted from 0 to {len(data.sets.test) - 1}"
        )
    _maps(samples[:1], module, data)


def picture(samples: Sequence[int], module: TransferModule, data: TransferData, classes: Sequence[str]) -> bytes:
    """A PNG with a row for each sample: the input, and the map over it with the true and the predicted class.

    Args:
        samples: positions in the test split.
        module: with the weights to be looked at.
        data: holds the test split.
        classes: names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    probe, maps, predicted = _maps(samples, module, data)
    figure = Figure(figsize=(5, 2.6 * len(samples)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(samples), 2, squeeze=False)
    for row, sample in enumerate(samples):
        assert isinstance(probe.x, Tensor)
        image = _shown(probe.x[row])
        for axis in axes[row]:
            axis.imshow(image, cmap="gray", extent=(0, 1, 0, 1), interpolation="nearest")
            axis.set_axis_off()
        axes[row][0].set_title(f"test sample {sample}: {classes[int(probe.y[row])]}", fontsize=9)
        axes[row][1].set_title(f"predicted: {classes[int(predicted[row])]}", fontsize=9)
        axes[row][1].imshow(maps[row].numpy(), cmap="viridis", alpha=0.6, extent=(0, 1, 0, 1), interpolation="bilinear")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _maps(samples: Sequence[int], module: TransferModule, data: TransferData) -> tuple[Probe, Tensor, Tensor]:
    probe = Probe(*data.sets.test[list(samples)], data)
    with undisturbed(module):
        x = next(probe.batches(len(probe), module))[0]
        if not isinstance(x, Tensor) or not _classes(module, x):
            raise InputError("diagnostics.saliency.samples: a picture needs images that are classed one by one")
        found = [maps_of(module.backbone, module.head, x)]
    return probe, found[0][0].float().cpu(), found[0][1].cpu()


def _classes(module: TransferModule, x: Tensor) -> bool:
    """Whether each input gets one class out of several."""
    if module.task.dense:
        return False
    with torch.no_grad():
        return module.task.probabilities(observe(module.backbone, module.head, x)[2]) is not None


def _shown(x: Tensor) -> Any:
    """An image (C, H, W) as matplotlib takes it: an array (H, W) of grey, or (H, W, 3)."""
    return (x[0] if len(x) != 3 else x.permute(1, 2, 0)).numpy()
