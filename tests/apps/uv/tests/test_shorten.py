import pytest

from links import shorten


@pytest.mark.parametrize("value", [0, 1, 19, 20, 12345])
def test_there_and_back(value):
    assert shorten.number(shorten.word(value)) == value
