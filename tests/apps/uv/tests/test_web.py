from links.web import known, server


def test_a_link_leads_where_it_was_made_for():
    known.clear()
    client = server.test_client()
    assert "http://localhost/c" in client.post("/", data={"address": "https://example.com/long"}).text
    assert client.get("/c").location == "https://example.com/long"


def test_no_script():
    assert server.test_client().post("/", data={"address": "javascript:alert(1)"}).status_code == 400
