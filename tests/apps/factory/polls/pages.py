from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for

from polls import count

bp = Blueprint("pages", __name__)


@bp.get("/")
def index():
    polls = {question: count.result(question, answers) for question, answers in current_app.config["POLLS"].items()}
    return render_template("index.html", polls=polls)


@bp.post("/vote")
def vote():
    question, answer = request.form["question"], request.form["answer"]
    if answer not in current_app.config["POLLS"].get(question, []):
        abort(400)
    count.vote(question, answer)
    return redirect(url_for("pages.index"))
