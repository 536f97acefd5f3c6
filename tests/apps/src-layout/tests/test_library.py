from bookshelf.library import Library


def test_what_comes_with_the_package():
    assert Library.bundled().find("978-0141441146").author == "Charlotte Brontë"
