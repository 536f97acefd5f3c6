"""Ask people, count the answers."""

from flask import Flask


def create_app(test_config=None):
    """Create and configure an instance of the application."""
    app = Flask(__name__)
    app.config.from_mapping(SECRET_KEY="dev", POLLS={"Tea or coffee?": ["Tea", "Coffee"]})
    app.config.from_prefixed_env("POLLS")
    if test_config is not None:
        app.config.update(test_config)

    @app.route("/health")
    def health():
        return {"status": "ok"}

    from polls import api, pages

    app.register_blueprint(pages.bp)
    app.register_blueprint(api.bp)
    return app
