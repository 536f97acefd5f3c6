import pytest

from statuspage import create_app


@pytest.fixture
def client():
    return create_app().test_client()


def test_what_is_reported_is_shown(client):
    assert client.put("/services/wiki", json={"state": "down"}).status_code == 204
    assert "Something is down" in client.get("/").text


def test_a_service_that_nobody_knows(client):
    assert client.put("/services/fax", json={"state": "down"}).status_code == 404
