"""A quote a day."""

from flask import Flask, render_template

from quotes import collection


def make_app():
    app = Flask(__name__)

    @app.route("/")
    def today():
        return render_template("today.html", quote=collection.today())

    @app.route("/healthz")
    def healthz():
        return {"quotes": len(collection.QUOTES)}

    return app


app = make_app()
