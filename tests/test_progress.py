import os

import pytest

from transferlab import progress
from transferlab.progress import Pace, expect


@pytest.fixture
def jobs(monkeypatch):
    def set_to(number):
        monkeypatch.setenv("TRANSFERLAB_JOBS", "0")  # so that it is put back afterwards
        expect(number)

    return set_to


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told to move."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_one_job_has_no_number_and_no_time_left(jobs):
    jobs(1)
    assert Pace(trained=1, seconds=10.0).line(0, "text") == "text"


def test_without_a_sweep_there_is_no_number(monkeypatch):
    monkeypatch.delenv("TRANSFERLAB_JOBS", raising=False)
    assert Pace(trained=1, seconds=10.0).line(3, "text") == "text"


def test_processes_started_later_know_the_number_of_jobs(jobs):
    jobs(30)
    assert os.environ["TRANSFERLAB_JOBS"] == "30"


@pytest.mark.parametrize(
    ("number", "total", "place"), [(0, 2, "[1/2]"), (6, 30, "[ 7/30]"), (29, 30, "[30/30]"), (8, 100, "[  9/100]")]
)
def test_numbers_count_from_one_and_stand_below_each_other(number, total, place, jobs):
    jobs(total)
    assert Pace().line(number, "text") == f"{place} text"


@pytest.mark.parametrize(
    ("trained", "seconds", "left"),
    [
        (1, 10.0, "3:50"),  # 23 more of 10 s
        (4, 10.0, "0:58"),  # 23 * 2.5 s = 57.5 s
        (2, 0.02, "0:00"),
        (1, 60.0, "23:00"),
        (1, 160.0, "1:01:20"),  # 3680 s
        (5, 72000.0, "92:00:00"),
    ],
)
def test_the_time_left_is_the_mean_of_a_trained_job_times_those_to_come(trained, seconds, left, jobs):
    jobs(30)
    assert Pace(trained=trained, seconds=seconds).line(6, "text") == f"[ 7/30] text; {left} left"


@pytest.mark.parametrize(("seconds", "shown"), [(59.4, "0:59"), (59.6, "1:00"), (3599.7, "1:00:00")])
def test_seconds_and_minutes_never_reach_sixty(seconds, shown, jobs):
    jobs(2)
    assert Pace(trained=1, seconds=seconds).line(0, "text").endswith(f"; {shown} left")


def test_the_last_job_leaves_nothing(jobs):
    jobs(3)
    assert Pace(trained=3, seconds=30.0).line(2, "text") == "[3/3] text"


def test_a_job_counts_from_its_start_to_its_stop(jobs, clock):
    jobs(4)
    pace = Pace()
    clock(1000.0)  # whatever happened before
    pace.start()
    clock(10.0)
    pace.stop()
    clock(500.0)  # between two jobs
    pace.start()
    clock(20.0)
    pace.stop()
    assert pace.line(1, "text") == "[2/4] text; 0:30 left"


def test_skipped_jobs_say_nothing_of_those_to_come(jobs, clock):
    jobs(10)
    pace = Pace()
    assert pace.line(0, "skipped") == "[ 1/10] skipped"
    pace.start()
    clock(5.0)
    pace.stop()
    with_one_trained = pace.line(3, "text")
    pace.line(1, "skipped")
    assert pace.line(3, "text") == with_one_trained == "[ 4/10] text; 0:30 left"


def test_a_job_that_failed_does_not_count(jobs, clock):
    jobs(3)
    pace = Pace()
    pace.start()
    clock(100.0)
    pace.start()
    clock(5.0)
    pace.stop()
    assert pace.line(1, "text") == "[2/3] text; 0:05 left"


def test_the_jobs_of_a_second_part_are_numbered_behind_those_of_the_first(jobs, monkeypatch):
    monkeypatch.setenv("TRANSFERLAB_JOBS_BEFORE", "0")  # so that it is put back afterwards
    jobs(0)
    expect(12, before=8)
    assert Pace(trained=1, seconds=10.0).line(0, "text") == "[ 9/12] text; 0:30 left"
