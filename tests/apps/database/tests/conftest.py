import pytest

from todo import create_app
from todo.db import get_cache, get_db


@pytest.fixture
def app():
    app = create_app(TESTING=True)
    app.test_cli_runner().invoke(args=["init-db"], catch_exceptions=False)
    with app.app_context():
        get_db().execute("TRUNCATE tasks RESTART IDENTITY")
        get_cache().flushdb()
    return app


@pytest.fixture
def client(app):
    return app.test_client()
