"""Counts words. Start it with: python main.py"""

import os
from pathlib import Path

from flask import Flask, render_template, request

from words import Words


def build():
    web = Flask(__name__)
    web.config["MAX_CONTENT_LENGTH"] = 1024 * 1024

    @web.route("/", methods=["GET", "POST"])
    def count():
        text = request.form.get("text", "")
        return render_template("count.html", words=Words(text), text=text)

    @web.route("/up")
    def up():
        return "", 204

    return web


if __name__ == "__main__":
    port = int(os.environ.get("PORT", 5001))
    print(f"{Path(__file__).name} listens on {port}", flush=True)
    build().run(host="0.0.0.0", port=port)
