import pytest

from polls import count, create_app


@pytest.fixture
def app():
    count.forget()
    return create_app({"TESTING": True})


@pytest.fixture
def client(app):
    return app.test_client()
