from todo.db import get_cache


def test_tasks_are_kept_in_order(client):
    for title in ("Wash up", "Dry up"):
        assert client.post("/tasks", json={"title": title}).status_code == 201
    assert [task["title"] for task in client.get("/tasks").json] == ["Wash up", "Dry up"]


def test_tags_are_searched_by_the_database(client):
    client.post("/tasks", json={"title": "Mow", "tags": ["garden"]})
    client.post("/tasks", json={"title": "Read", "tags": ["sofa"]})
    assert [task["title"] for task in client.get("/tasks?tag=garden").json] == ["Mow"]


def test_lists_are_counted(app, client):
    client.get("/tasks")
    client.get("/tasks")
    with app.app_context():
        assert get_cache().get("lists") == "2"
