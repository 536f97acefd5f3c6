import os

from flask import Flask, render_template

import content

app = Flask(__name__)


@app.route("/")
def home():
    return render_template("home.html", team=content.TEAM, city=os.getenv("CITY", "Ghent"))


@app.route("/<page>.html")
def page(page):
    return render_template("page.html", text=content.PAGES.get(page, "There is nothing here yet."))
