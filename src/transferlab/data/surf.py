"""Published features of photographs, in the files that they came in."""

from pathlib import Path

import torch

from transferlab.data.samples import Splits, checked
from transferlab.errors import InputError, unknown

_FILES = {"amazon": "amazon", "caltech10": "Caltech10", "dslr": "dslr", "webcam": "webcam"}
_OBJECTS = "backpack bike calculator headphones keyboard laptop monitor mouse mug projector"


def office_caltech10_surf(root: str, name: str) -> Splits:
    """Histograms of 800 visual words, SURF descriptors of photographs of ten objects (Gong et al. 2012); no test split.

    Gong, Shi, Sha & Grauman 2012, "Geodesic Flow Kernel for Unsupervised Domain Adaptation" (CVPR): the ten classes
    that Office-31 (Saenko et al. 2010) and Caltech-256 share; 958 samples of Amazon, 1,123 of Caltech, 157 of a DSLR
    camera, 295 of a webcam.

    Args:
        root: folder of `amazon_SURF_L10.mat`, `Caltech10_SURF_L10.mat`, ..., each with `fts` (N, 800), counts, and
            `labels` (N, 1), 1 to 10.
        name: the domain: `amazon`, `caltech10`, `dslr` or `webcam`.

    Raises:
        InputError: no such domain, its file is missing, or has other contents.
    """
    from scipy.io import loadmat

    if name not in _FILES:
        raise unknown("domain of Office-Caltech10", name, tuple(_FILES))
    file = Path(root) / f"{_FILES[name]}_SURF_L10.mat"
    if not file.is_file():
        raise InputError(f"target.data.root: there is no file {file}")
    try:
        arrays = loadmat(file)
        x, y = (torch.from_numpy(arrays[key].astype(kind)) for key, kind in (("fts", "float32"), ("labels", "int64")))
    except (KeyError, ValueError, NotImplementedError) as error:
        raise InputError(f"{file} is no MATLAB file with 'fts' and 'labels', numbers both: {error}") from error
    classes = tuple(_OBJECTS.split())
    return Splits(checked(x, y.reshape(-1) - 1, len(classes), str(file)), None, classes)
