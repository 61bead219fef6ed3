import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from transferlab.values import Pair, Seq, chunks, each, flat, floats, masked_mean, samples, tensors

LENGTHS = (3, 5, 1, 4)


def frames(lengths=LENGTHS, features=2, seed=0):
    """Sequences (T_i, features), and the batch of them whose padding is no zero."""
    generator = torch.Generator().manual_seed(seed)
    each_alone = [torch.randn(length, features, generator=generator) for length in lengths]
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return each_alone, Seq(pad_sequence(each_alone, batch_first=True, padding_value=99.0), mask)


def ids(lengths=LENGTHS):
    return Seq(torch.arange(len(lengths) * max(lengths)).reshape(len(lengths), -1), frames(lengths)[1].mask)


def images():
    return torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def values():
    return {
        "tensor": images(),
        "frames": frames()[1],
        "ids": ids(),
        "pair": Pair(images(), ids()),
        "nested": Pair(Pair(images(), images().double()), frames()[1]),
    }


every_value = pytest.mark.parametrize("kind", list(values()))


def same(one, other):
    return type(one) is type(other) and all(
        a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True)
    )


def test_the_tensors_of_a_value_come_in_order():
    first, second, seq = images(), images().double(), ids()
    found = list(tensors(Pair(Pair(first, second), seq)))
    assert all(one is other for one, other in zip(found, [first, second, seq.h, seq.mask], strict=True))
    assert next(tensors(first)) is first


@every_value
def test_each_keeps_the_kind_of_a_value_and_changes_every_tensor(kind):
    value = values()[kind]
    assert same(each(torch.clone, value), value)
    seen = []
    each(lambda tensor: seen.append(tensor) or tensor, value)
    assert all(one is other for one, other in zip(seen, tensors(value), strict=True))
    turned = each(lambda tensor: tensor.flip(0), value)
    assert same(each(lambda tensor: tensor.flip(0), turned), value)
    assert not same(turned, value)


@every_value
@pytest.mark.parametrize("wanted", [torch.float64, torch.bfloat16])
def test_floats_are_changed_and_ids_and_masks_stay(kind, wanted):
    value = values()[kind]
    for before, after in zip(tensors(value), tensors(floats(value, wanted)), strict=True):
        assert after.dtype == (wanted if before.is_floating_point() else before.dtype)
        assert torch.equal(after, before.to(after.dtype))


@every_value
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_chunks_are_nearly_equal_and_in_order_make_the_whole(kind, count):
    value = values()[kind]
    parts = chunks(value, count)
    sizes = [samples(part) for part in parts]
    assert len(parts) == count
    assert sum(sizes) == 4
    assert max(sizes) - min(sizes) <= 1
    assert {type(part) for part in parts} == {type(value)}
    for whole, *pieces in zip(tensors(value), *(tensors(part) for part in parts), strict=True):
        assert torch.equal(torch.cat(pieces), whole)


@every_value
def test_samples_are_counted_along_the_batch(kind):
    assert samples(values()[kind]) == 4


@pytest.mark.parametrize("features", [(), (3,), (3, 2)], ids=str)
def test_the_mean_of_a_padded_batch_is_that_of_each_sequence_alone(features):
    generator = torch.Generator().manual_seed(3)
    alone = [torch.randn(length, *features, generator=generator) for length in LENGTHS]
    padded = pad_sequence(alone, batch_first=True, padding_value=1e3)
    batch = Seq(padded, torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None])
    torch.testing.assert_close(masked_mean(batch), torch.stack([one.mean(0) for one in alone]))


def test_the_mean_takes_the_real_steps_wherever_they_stand():
    h = torch.tensor([[[1.0], [50.0], [3.0]], [[50.0], [50.0], [7.0]]])
    mask = torch.tensor([[True, False, True], [False, False, True]])
    assert masked_mean(Seq(h, mask)).tolist() == [[2.0], [7.0]]


def test_the_mean_of_no_real_step_is_zero():
    assert masked_mean(Seq(torch.ones(2, 3, 4), torch.zeros(2, 3).bool())).tolist() == [[0.0] * 4] * 2


def test_the_gradient_of_the_mean_reaches_real_steps_alone():
    _, (h, mask) = frames()
    h = h.clone().requires_grad_()
    masked_mean(Seq(h, mask)).sum().backward()
    assert torch.equal(h.grad != 0, mask[..., None].expand_as(h))


def test_a_vector_of_a_sample_is_its_numbers_its_mean_step_or_both_side_by_side():
    x, (alone, seq) = images(), frames()
    means = torch.stack([one.mean(0) for one in alone])
    assert torch.equal(flat(x), x.reshape(4, 12))
    torch.testing.assert_close(flat(seq), means)
    torch.testing.assert_close(flat(Pair(x, seq)), torch.cat([x.reshape(4, 12), means], 1))
    assert flat(values()["nested"]).shape == (4, 12 + 12 + 2)


@every_value
def test_a_sample_has_one_vector_whatever_else_is_in_its_batch(kind):
    value = values()[kind]
    whole = flat(value)
    assert whole.ndim == 2
    alone = torch.cat([flat(part) for part in chunks(value, 4)])
    torch.testing.assert_close(alone, whole)
