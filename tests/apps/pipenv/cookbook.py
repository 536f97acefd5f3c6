"""Recipes, from the Markdown files in recipes/."""

import os
from pathlib import Path

import markdown
from flask import Flask, abort, render_template
from markupsafe import Markup

RECIPES = Path(os.environ.get("RECIPES", Path(__file__).parent / "recipes"))

app = Flask(__name__)


def titles():
    for path in sorted(RECIPES.glob("*.md")):
        yield path.stem, path.read_text("utf-8").splitlines()[0].lstrip("# ")


@app.route("/")
def index():
    return render_template("index.html", recipes=titles())


@app.route("/<slug>")
def recipe(slug):
    path = RECIPES / f"{slug}.md"
    if not path.is_file():
        abort(404)
    return render_template("recipe.html", text=Markup(markdown.markdown(path.read_text("utf-8"))))
