from urllib.parse import urlsplit

from flask import Flask, abort, redirect, render_template, request, url_for

from links import shorten

server = Flask(__name__)
known: list[str] = []


@server.get("/")
def form():
    return render_template("form.html")


@server.post("/")
def add():
    address = request.form["address"]
    if urlsplit(address).scheme not in ("http", "https"):
        abort(400, "Only web addresses, please.")
    known.append(address)
    return render_template("form.html", short=url_for("follow", word=shorten.word(len(known)), _external=True))


@server.get("/<word>")
def follow(word: str):
    try:
        return redirect(known[shorten.number(word) - 1])
    except (ValueError, IndexError):
        abort(404)
