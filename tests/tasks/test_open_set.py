import pytest
import torch

from transferlab.tasks.open_set import HScore, h_score


def naive(predicted, y, unknown):
    shares = {}
    for label in set(y):
        found = [p == label for p, t in zip(predicted, y, strict=True) if t == label]
        shares[label] = sum(found) / len(found)
    known = [share for label, share in shares.items() if label != unknown]
    a, b = sum(known) / len(known), shares.get(unknown, 0.0)
    return 2 * a * b / (a + b) if a + b else 0.0


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_harmonic_mean_of_known_and_unknown_in_batches(seed):
    draw = torch.Generator().manual_seed(seed)
    logits, y = torch.randn(40, 4, generator=draw), torch.randint(0, 4, (40,), generator=draw)
    metric = HScore(4)
    for outputs, labels in zip(logits.split(7), y.split(7), strict=True):
        metric.update(outputs, labels)
    assert metric.compute().item() == pytest.approx(naive(logits.argmax(1).tolist(), y.tolist(), 3), abs=1e-6)


def test_a_class_without_samples_is_left_out():
    right, total = torch.tensor([3.0, 0.0, 2.0]), torch.tensor([4.0, 0.0, 2.0])
    assert h_score(right, total).item() == pytest.approx(2 * 0.75 / 1.75)


@pytest.mark.parametrize(
    ("right", "total"), [([0.0, 2.0], [4.0, 2.0]), ([4.0, 0.0], [4.0, 2.0]), ([4.0, 0.0], [4.0, 0.0])]
)
def test_what_recognises_one_side_alone_scores_0(right, total):
    assert h_score(torch.tensor(right), torch.tensor(total)).item() == 0
