from inventory import create_app
from inventory.stock import is_low


def test_low():
    assert is_low(2, 3)
    assert not is_low(3, 3)


def test_overview_marks_what_is_low():
    page = create_app().test_client().get("/").text
    assert page.count('class="low"') == 1
