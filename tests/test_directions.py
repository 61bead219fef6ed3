import pytest

from transferlab.directions import is_share, sign

LESS = ["loss", "mse", "mae", "rmse", "perplexity", "squared_error", "absolute_error", "calibration_error", "error"]
MORE = [
    "accuracy",
    "class_accuracy",
    "f1",
    "macro_f1",
    "iou",
    "mean_iou",
    "map",
    "map_50",
    "r2",
    "bleu",
    "chrf",
    "auroc",
]
SHARES = [
    "accuracy",
    "class_accuracy",
    "precision",
    "recall",
    "recall_at_5",
    "f1",
    "macro_f1",
    "auroc",
    "iou",
    "map_50",
]


@pytest.mark.parametrize("split", ["", "val/", "test/", "diagnostics/"])
def test_losses_and_errors_are_minimised_and_the_rest_is_maximised_on_every_split(split):
    assert {name: sign(split + name) for name in LESS} == dict.fromkeys(LESS, -1)
    assert {name: sign(split + name) for name in MORE} == dict.fromkeys(MORE, 1)


@pytest.mark.parametrize("split", ["", "val/", "test/"])
def test_shares_are_known_by_a_word_of_their_name(split):
    assert {name: is_share(split + name) for name in SHARES} == dict.fromkeys(SHARES, True)


@pytest.mark.parametrize("name", [*LESS, "r2", "bleu", "chrf", "mapping_score", "loss_of_accuracy_error"])
def test_what_has_no_such_word_or_is_minimised_is_no_share(name):
    assert not is_share(f"val/{name}")


def test_the_split_is_no_part_of_the_name():
    # a folder of metrics that happens to be called after a loss
    assert sign("loss/accuracy") == 1
    assert not is_share("accuracy/r2")


def test_case_does_not_matter():
    assert sign("val/RMSE") == -1
    assert is_share("val/Accuracy")
