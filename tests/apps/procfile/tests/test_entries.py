import pytest

from config import TestConfig
from journal_app import create_app, db
from journal_app.models import Entry


@pytest.fixture
def app():
    app = create_app(TestConfig)
    with app.app_context():
        db.create_all()
        yield app
        db.session.remove()
        db.drop_all()


def test_the_first_page(app):
    assert "Dear journal" in app.test_client().get("/").text


def test_an_entry_is_kept(app):
    client = app.test_client()
    client.post("/entries/", data={"body": "It rained."})
    assert "It rained." in client.get("/entries/").text
    assert db.session.query(Entry).count() == 1
