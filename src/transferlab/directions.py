"""Which way a metric is better, by its name: whoever adds a metric of which less is better names it so. No torch."""

# ends of names
_LESS = ("loss", "error", "mse", "mae", "rmse", "perplexity", "distance")
_SHARES = ("accuracy", "precision", "recall", "f1", "auroc", "iou", "map")


def sign(metric: str) -> int:
    """1 where more is better, -1 where less is."""
    return -1 if _last(metric).endswith(_LESS) else 1


def is_share(metric: str) -> bool:
    """Whether its values lie in [0, 1] and are shown as percent."""
    return any(word in _last(metric).split("_") for word in _SHARES) and sign(metric) == 1


def _last(metric: str) -> str:
    return metric.rpartition("/")[2].lower()
