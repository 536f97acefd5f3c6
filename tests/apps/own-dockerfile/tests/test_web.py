from dice import app


def test_roll():
    client = app.test_client()
    assert client.get("/roll?dice=1d1").json == {"result": 1}
    assert client.get("/roll?dice=x").status_code == 400
