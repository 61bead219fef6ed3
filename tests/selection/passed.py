"""What a net might make of samples, for the tests of the rules."""

from dataclasses import replace

import torch

from transferlab.selection.seen import Labelled, Passed, Seen


def drawn(samples=30, features=4, classes=3, seed=0):
    """Samples as they come, with labels that the logits favour a little."""
    generator = torch.Generator().manual_seed(seed)

    def part(number, shift):
        y = torch.randint(classes, (number,), generator=generator)
        logits = torch.randn(number, classes, generator=generator) + torch.eye(classes)[y]
        return Labelled(torch.randn(number, features, generator=generator) + shift, logits, y)

    target = part(samples, 0.5)
    return Seen(part(samples + 3, 0.0), part(samples // 2 + 1, 0.0), Passed(target.features, target.logits))


def predicting(labels, features=None, classes=3, source=None):
    """Target samples whose predictions are certainly these classes, beside source samples of the classes `source`."""
    labels, source = torch.as_tensor(labels), torch.as_tensor(range(classes) if source is None else source)
    features = torch.zeros(len(labels), 2) if features is None else features
    sure = 1000.0 * torch.eye(classes)
    known = Labelled(torch.zeros(len(source), features.shape[1]), sure[source], source)
    return Seen(known, known, Passed(features, sure[labels]))


def reordered(seen, seed):
    """The same samples in another order."""
    generator = torch.Generator().manual_seed(seed)

    def part(passed):
        order = torch.randperm(len(passed.logits), generator=generator)
        return replace(passed, **{name: value[order] for name, value in vars(passed).items()})

    return Seen(part(seen.source_train), part(seen.source_val), part(seen.target))


def without(seen, part):
    """The same with no samples in one part."""
    passed = getattr(seen, part)
    return replace(seen, **{part: replace(passed, **{name: value[:0] for name, value in vars(passed).items()})})


def spoilt(seen, part, name):
    """The same with one NaN in one tensor of one part."""
    passed = getattr(seen, part)
    tensor = getattr(passed, name).clone()
    tensor[-1, 0] = torch.nan
    return replace(seen, **{part: replace(passed, **{name: tensor})})
