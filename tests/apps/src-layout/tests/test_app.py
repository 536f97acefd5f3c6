import pytest

from bookshelf.app import create_app
from bookshelf.library import Book, Library


@pytest.fixture
def client():
    library = Library([Book("1", "Later", "B", 2000), Book("2", "Earlier", "A", 1900)])
    return create_app(library).test_client()


def test_the_shelf_is_in_order(client):
    page = client.get("/").text
    assert page.index("Earlier") < page.index("Later")


def test_a_book_and_one_that_is_missing(client):
    assert "Earlier" in client.get("/books/2").text
    assert client.get("/books/3").status_code == 404
