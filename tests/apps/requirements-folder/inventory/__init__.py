import os

from flask import Flask


def create_app():
    app = Flask(__name__, instance_relative_config=True)
    app.config["LOW"] = int(os.getenv("LOW", "3"))
    app.config.from_pyfile("config.py", silent=True)

    from inventory import stock

    app.register_blueprint(stock.blueprint)
    return app
