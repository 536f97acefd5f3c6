import pytest


def test_index(client):
    assert b"Tea or coffee?" in client.get("/").data


@pytest.mark.parametrize("answer, status", [("Tea", 302), ("Water", 400)])
def test_vote(client, answer, status):
    assert client.post("/vote", data={"question": "Tea or coffee?", "answer": answer}).status_code == status


def test_votes_are_counted(client):
    client.post("/vote", data={"question": "Tea or coffee?", "answer": "Tea"})
    assert client.get("/api/polls").json == [{"question": "Tea or coffee?", "votes": {"Tea": 1, "Coffee": 0}}]


def test_health(client):
    assert client.get("/health").json == {"status": "ok"}
