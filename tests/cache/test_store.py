import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.cache import columns
from transferlab.cache.packing import UncacheableError, put_together, taken_apart
from transferlab.cache.store import CacheError, Store
from transferlab.values import Carried, Pair, Seq

KEY = "k"


def digests(*names: int) -> list[bytes]:
    return [name.to_bytes(16, "big") for name in names]


def sequence(lengths: list[int], width: int) -> Seq:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Seq(torch.randn(*mask.shape, width) * mask[..., None], mask)


def store(folder: Path, gigabytes: float = 1, wait: bool = True) -> Store:
    return Store(folder, gigabytes, wait)


def write(place: Store, names: list[int], value: object, key: str = KEY) -> None:
    with place.held(key) as held:
        assert held
        place.add(key, digests(*names), [(value, len(names))], None, {"backbone": "net"})


def equal(one: object, other: object) -> None:
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor) and one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys()
        for name in one:
            equal(one[name], other[name])
    else:
        assert type(one) is type(other)
        for pair in zip(one, other, strict=True):  # type: ignore[call-overload]
            equal(*pair)


@given(
    order=st.permutations(range(5)),
    lengths=st.lists(st.integers(1, 4), min_size=5, max_size=5),
    cut=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_rows_come_back_as_they_were_in_any_order_and_from_several_segments(
    tmp_path_factory, order, lengths, cut, seed
):
    torch.manual_seed(seed)
    whole = {
        "": Carried(torch.randn(5, 3, 2), torch.randint(9, (5,))),
        "block0": sequence(lengths, 2),
        "pair": Pair(torch.randn(5, 1).bfloat16(), sequence(lengths, 1)),
    }
    place = store(tmp_path_factory.mktemp("store"))
    plan, leaves = taken_apart(whole, 5)
    for part in (slice(0, cut), slice(cut, 5)):
        rows = [Seq(leaf.h[part], leaf.mask[part]) if isinstance(leaf, Seq) else leaf[part] for leaf in leaves]
        write(place, list(range(5))[part], put_together(plan, rows))
    shelf = place.shelf(KEY, digests(*range(5)))
    assert shelf.missing == []
    fetched = shelf.fetch(order)
    longest = max(lengths)
    wanted = [
        Seq(leaf.h[list(order)][:, :longest], leaf.mask[list(order)][:, :longest])
        if isinstance(leaf, Seq)
        else leaf[list(order)]
        for leaf in leaves
    ]
    equal(fetched, put_together(plan, wanted))


def test_samples_are_found_by_their_digests_and_the_others_are_missing(tmp_path):
    place = store(tmp_path)
    write(place, [7, 8], {"": torch.tensor([[7.0], [8.0]])})
    shelf = place.shelf(KEY, digests(9, 8, 7, 8))
    assert shelf.missing == [0]
    assert shelf.fetch([3, 2, 1])[""].flatten().tolist() == [8, 7, 8]
    assert place.shelf("other", digests(7)).missing == [0]


def test_bfloat16_takes_half_the_bytes_and_comes_back_as_what_it_was_rounded(tmp_path):
    value = torch.randn(4, 100)
    place = store(tmp_path)
    with place.held(KEY):
        place.add(KEY, digests(*range(4)), [({"": value}, 4)], torch.bfloat16, {})
    fetched = place.shelf(KEY, digests(*range(4))).fetch(range(4))[""]
    assert fetched.dtype == torch.float32
    assert torch.equal(fetched, value.bfloat16().float())
    (rows,) = tmp_path.glob("*/*/0.rows")
    assert rows.stat().st_size == 4 * 100 * 2


@pytest.mark.parametrize("file", ["0.rows", "0.ends", "digests", "segment.json"])
def test_a_poisoned_file_is_noticed_said_and_removed(tmp_path, caplog, file):
    place = store(tmp_path)
    write(place, [1, 2], {"": sequence([2, 1], 3)})
    (poisoned,) = tmp_path.glob(f"*/*/{file}")
    content = bytearray(poisoned.read_bytes())
    content[len(content) // 2] ^= 1
    poisoned.write_bytes(content)
    assert [one.name for one in place.damaged()] == [poisoned.parent.name]
    assert place.shelf(KEY, digests(1, 2)).missing == [0, 1]
    assert "damaged" in caplog.text
    assert not poisoned.parent.exists()
    assert place.damaged() == []


def test_of_a_writer_that_was_killed_nothing_counts_and_nothing_stays(tmp_path):
    place = store(tmp_path)
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(place,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert list(tmp_path.glob("*/.*/0.rows"))
    assert place.shelf(KEY, digests(1, 2)).missing == [0, 1]
    write(place, [1, 2], {"": torch.ones(2, 1)})
    assert not list(tmp_path.glob("*/.*"))
    assert place.shelf(KEY, digests(1, 2)).missing == []


def _killed(place: Store) -> None:
    def batches():
        yield {"": torch.ones(1, 1)}, 1
        os._exit(9)

    with place.held(KEY):
        place.add(KEY, digests(1, 2), batches(), None, {})


def test_two_processes_compute_the_same_rows_once_and_who_does_not_wait_goes_on_without(tmp_path):
    context = multiprocessing.get_context("fork")
    log, started = tmp_path / "log", context.Event()
    first = context.Process(target=_slow, args=(store(tmp_path / "c"), started, log))
    first.start()
    assert started.wait(10)
    with store(tmp_path / "c", wait=False).held(KEY) as held:
        assert not held
    place = store(tmp_path / "c")
    with place.held(KEY) as held:  # until the first has let it go
        assert held
        assert log.read_text() == "written"
        assert place.shelf(KEY, digests(1)).missing == []
    first.join()


def _slow(place: Store, started: object, log: Path) -> None:
    with place.held(KEY):
        started.set()  # type: ignore[attr-defined]
        time.sleep(0.3)
        place.add(KEY, digests(1), [({"": torch.ones(1, 1)}, 1)], None, {})
        log.write_text("written")


def test_what_was_not_used_for_longest_makes_room(tmp_path):
    place = store(tmp_path, gigabytes=3000 * 1e-9)
    for number, key in enumerate(("old", "new", "held")):
        write(place, [number], {"": torch.ones(1, 200)}, key)
    now = time.time()
    for key, age in (("held", 30), ("old", 20), ("new", 10)):
        os.utime(tmp_path / key / "used", (now - age, now - age))
    assert [entry["key"] for entry in place.entries()] == ["held", "old", "new"]
    with place.held("held"):
        os.utime(tmp_path / "held" / "used", (now - 30, now - 30))
        assert place.make_room(700)
    assert {entry["key"] for entry in place.entries()} == {"held", "new"}
    assert not place.make_room(5000, "new")
    assert "new" in {entry["key"] for entry in place.entries()}


def test_opening_a_key_counts_as_using_it(tmp_path):
    place = store(tmp_path)
    for key in ("a", "b"):
        write(place, [1], {"": torch.ones(1, 1)}, key)
        os.utime(tmp_path / key / "used", (0, 0) if key == "a" else (1, 1))
    place.shelf("a", digests(1))
    assert [entry["key"] for entry in place.entries()] == ["b", "a"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    place = store(tmp_path)
    monkeypatch.setattr(columns.Writer, "add", _full)
    with place.held(KEY), pytest.raises(CacheError, match="the disk is full"):
        place.add(KEY, digests(1), [({"": torch.ones(1, 1)}, 1)], None, {})
    assert not list((tmp_path / KEY).glob("*/*"))


def _full(self: object, leaf: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1, 4, 3, 3),
        torch.tensor(1.0),
        Seq(torch.zeros(2, 3), torch.tensor([[False, True, True]] * 2)),
        ["h"],
    ],
    ids=["one row for all samples", "no rows", "padded in front", "none of ours"],
)
def test_what_is_not_by_sample_is_refused(value):
    with pytest.raises(UncacheableError):
        taken_apart(value, 2)


def test_a_segment_says_what_it_is_of(tmp_path):
    write(store(tmp_path), [1], {"": torch.ones(1, 1)})
    (file,) = tmp_path.glob("*/*/segment.json")
    assert json.loads(file.read_text())["about"] == {"backbone": "net"}


def test_many_segments_become_one_with_the_same_rows(tmp_path):
    place, rows = store(tmp_path), torch.randn(40, 3)
    for name in range(40):
        write(place, [name], {"": rows[name : name + 1], "words": sequence([1 + name % 3], 2)})
        if name == 20:
            before = place.shelf(KEY, digests(*range(21)))
            words = before.fetch(range(21))["words"]
    assert len(list((tmp_path / KEY).glob("*/segment.json"))) < 16
    shelf = place.shelf(KEY, digests(*range(40)))
    assert shelf.missing == []
    equal(shelf.fetch(range(40))[""], rows)
    equal(shelf.fetch(range(21))["words"], words)
    # whoever opened the segments of before reads on
    equal(before.fetch(range(21))[""], rows[:21])
    assert place.damaged() == []
    (entry,) = place.entries()
    assert entry["rows"] == 40 and entry["about"] == {"backbone": "net"}


def test_segments_stay_apart_where_one_more_has_no_room(tmp_path):
    place = store(tmp_path, gigabytes=1e-6 * 40)  # half of it are files that say what the others hold
    for name in range(20):
        write(place, [name], torch.randn(1, 300))
    assert len(list((tmp_path / KEY).glob("*/segment.json"))) == 20
    assert place.shelf(KEY, digests(*range(20))).missing == []
