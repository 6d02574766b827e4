"""Positions in a log, and how far behind a replica is."""

from __future__ import annotations

import pytest

from django_connmgr._pool.lag import MOST_SAMPLES, Lag, Samples
from django_connmgr._pool.position import Position, end_of_record

SEGMENT = 16 * 1024 * 1024


def test_a_position_is_reached_on_its_own_timeline_only() -> None:
    here = Position(2, 100)
    assert here.has_reached(Position(2, 100))
    assert not here.has_reached(Position(2, 101))
    assert not here.has_reached(Position(1, 1))
    assert not here.has_reached(Position(3, 1))


@pytest.mark.parametrize("position", [Position(1, 0), Position(12, 0x1_2345_6789), Position(0, 0)])
def test_a_text_leads_back_to_its_position(position: Position) -> None:
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "1", "1-0", "1-0/", "1-0/g", "-1-0/0", "1-0/0 ", "1-1/123456789"]
)
def test_another_text_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no position"):
        Position.parse(text)


@pytest.mark.parametrize(
    ("offset", "header"), [(8192 + 24, 24), (40, 40), (24, 24), (8192 + 40, 0), (8192, 0), (500, 0)]
)
def test_headers_without_a_record_do_not_count(offset: int, header: int) -> None:
    assert end_of_record(SEGMENT + offset, offset) == SEGMENT + offset - header


@pytest.fixture
def samples() -> Samples:
    samples = Samples()
    for now, lsn in [(10.0, 100), (11.0, 200), (12.0, 300)]:
        samples.add(Position(1, lsn), now)
    return samples


@pytest.mark.parametrize(
    ("replayed", "lag"),
    [
        (300, Lag(0.0, 0)),
        (299, Lag(1.0, 1)),
        (200, Lag(1.0, 100)),
        (50, Lag(3.0, 250)),
        (400, Lag(0.0, 0)),
    ],
)
def test_a_lag_is_the_age_of_the_first_sample_that_is_missing(
    samples: Samples, replayed: int, lag: Lag
) -> None:
    assert samples.lag_of(Position(1, replayed), 13.0) == lag


def test_an_idle_primary_has_one_sample(samples: Samples) -> None:
    for now in range(100):
        samples.add(Position(1, 300), 13.0 + now)
    assert samples.lag_of(Position(1, 300), 200.0) == Lag(0.0, 0)
    assert samples.lag_of(Position(1, 200), 200.0) == Lag(188.0, 100)


def test_nothing_is_known_before_the_first_sample() -> None:
    assert Samples().lag_of(Position(1, 1), 1.0) is None


def test_samples_of_another_timeline_are_forgotten(samples: Samples) -> None:
    samples.add(Position(2, 250), 13.0)
    assert samples.latest == Position(2, 250)
    assert samples.lag_of(Position(1, 50), 14.0) == Lag(1.0, 200)


def test_samples_are_bounded() -> None:
    samples = Samples()
    for number in range(2 * MOST_SAMPLES):
        samples.add(Position(1, number), float(number))
    lag = samples.lag_of(Position(1, 0), 2.0 * MOST_SAMPLES)
    assert lag == Lag(MOST_SAMPLES, 2 * MOST_SAMPLES - 1)
