import os

from flask import Flask


def create_app(**config):
    app = Flask(__name__)
    app.config["DATABASE_URL"] = os.environ.get("DATABASE_URL")
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL")
    app.config.update(config)

    from todo import db, views

    db.init_app(app)
    app.register_blueprint(views.bp)
    return app
