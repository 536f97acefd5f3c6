from flask import Flask

from .checks import Checks


def create_app(config: str = "statuspage.settings"):
    app = Flask(__name__)
    app.config.from_object(config)
    app.extensions["checks"] = Checks(app.config["SERVICES"])

    from .views import views

    app.register_blueprint(views)
    return app
