import pytest

from app import NAME_LENGTH_MAX, create_app


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setenv("GIT_REV", "0123456789abcdef")
    return create_app().test_client()


def test_page_greets_and_names_its_version(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "<title>Hello from Landfall</title>" in answer.text
    assert "0123456789ab" in answer.text


def test_greet_answers_in_json(client):
    answer = client.get("/api/greet", query_string={"name": "Ada"})
    assert answer.status_code == 200
    assert answer.json["greeting"] == "Hello, Ada!"


@pytest.mark.parametrize("name", ["", "   ", "x" * (NAME_LENGTH_MAX + 1)])
def test_greet_refuses_a_bad_name(client, name):
    answer = client.get("/api/greet", query_string={"name": name})
    assert answer.status_code == 400
    assert "name" in answer.json["error"]


def test_greet_does_not_invent_a_missing_name(client):
    assert client.get("/api/greet").status_code == 400


def test_health_check_is_ok(client):
    assert client.get("/healthz").json["status"] == "ok"


def test_version_comes_from_the_file_when_nobody_says_otherwise(monkeypatch):
    monkeypatch.delenv("GIT_REV", raising=False)
    assert create_app().config["VERSION"].count(".") == 2
