from datetime import date

import pytest

from weather import app
from weather.report import sky_of


@pytest.fixture()
def client():
    app.testing = True
    with app.test_client() as client:
        yield client


def test_one_sky_a_day():
    assert sky_of(date(2024, 2, 29)) == "snow"


def test_report(client):
    answer = client.get("/on/2024-02-29")
    assert b"There was snow on 29.02.2024" in answer.data


def test_no_day(client):
    assert client.get("/on/2023-02-29").status_code == 400
