import click
import psycopg
import redis
from flask import current_app, g

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    id serial PRIMARY KEY,
    title text NOT NULL,
    tags text[] NOT NULL DEFAULT '{}',
    done boolean NOT NULL DEFAULT false
)
"""


def get_db():
    if "db" not in g:
        g.db = psycopg.connect(current_app.config["DATABASE_URL"], autocommit=True)
    return g.db


def get_cache():
    if "cache" not in g:
        g.cache = redis.Redis.from_url(current_app.config["REDIS_URL"], decode_responses=True)
    return g.cache


def close(_=None):
    for name in ("db", "cache"):
        connection = g.pop(name, None)
        if connection is not None:
            connection.close()


def init_app(app):
    app.teardown_appcontext(close)

    @app.cli.command("init-db")
    def init_db():
        get_db().execute(SCHEMA)
        click.echo("The tables are there.")
