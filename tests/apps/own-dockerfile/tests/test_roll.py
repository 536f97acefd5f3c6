import random

import pytest

from dice.roll import parse, roll


def test_notation():
    assert parse("2d6") == (2, 6, 0)
    assert parse("1d20-1") == (1, 20, -1)
    with pytest.raises(ValueError):
        parse("two dice")


def test_a_roll_is_within_its_dice():
    source = random.Random(1)
    assert all(3 <= roll("2d6+1", source) <= 13 for _ in range(200))
