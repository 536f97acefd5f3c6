import pytest

import cookbook


@pytest.fixture
def client(tmp_path, monkeypatch):
    (tmp_path / "tea.md").write_text("# Tea\n\nBoil *water*.\n")
    monkeypatch.setattr(cookbook, "RECIPES", tmp_path)
    return cookbook.app.test_client()


def test_index(client):
    assert '<a href="/tea">Tea</a>' in client.get("/").text


def test_recipe(client):
    assert "<em>water</em>" in client.get("/tea").text
    assert client.get("/coffee").status_code == 404
