"""A small Flask app: one page, one JSON endpoint, one health check."""

import os
from pathlib import Path

from flask import Flask, jsonify, render_template_string, request

PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Hello from Landfall</title>
  </head>
  <body>
    <h1>Hello from Landfall</h1>
    <p>This is version <code id="version">{{ version }}</code>.</p>
    <p>Try <a href="/api/greet?name=Ada">/api/greet?name=Ada</a>.</p>
  </body>
</html>
"""

NAME_LENGTH_MAX = 40


def read_version():
    """The commit that runs, where the platform says so; else the VERSION file."""
    revision = os.environ.get("GIT_REV", "").strip()
    if revision:
        return revision[:12]
    return (Path(__file__).parent / "VERSION").read_text(encoding="utf-8").strip()


def create_app():
    app = Flask(__name__)
    app.config["VERSION"] = read_version()

    @app.get("/")
    def page():
        return render_template_string(PAGE, version=app.config["VERSION"])

    @app.get("/api/greet")
    def greet():
        name = request.args.get("name", "").strip()
        if not name:
            return jsonify(error="name is missing"), 400
        if len(name) > NAME_LENGTH_MAX:
            return jsonify(error=f"name is longer than {NAME_LENGTH_MAX} characters"), 400
        return jsonify(greeting=f"Hello, {name}!", version=app.config["VERSION"])

    @app.get("/healthz")
    def healthz():
        return jsonify(status="ok", version=app.config["VERSION"])

    return app


app = create_app()
