import datetime

import pytest

from quotes import app, collection


@pytest.fixture
def client():
    return app.test_client()


def test_today_has_a_quote(client, mocker):
    mocker.patch.object(collection, "today", return_value=("Be brief.", "Nobody"))
    page = client.get("/").text
    assert "Be brief." in page and "Nobody" in page


def test_every_day_has_one(monkeypatch):
    class Tomorrow(datetime.date):
        @classmethod
        def today(cls):
            return datetime.date.fromordinal(datetime.date.max.toordinal())

    monkeypatch.setattr(datetime, "date", Tomorrow)
    assert collection.today() in collection.QUOTES


def test_healthz(client):
    assert client.get("/healthz").json == {"quotes": 2}
