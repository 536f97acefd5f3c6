from flask import Blueprint, abort, current_app, render_template, request

views = Blueprint("views", __name__)


@views.get("/")
def page():
    return render_template("page.html", checks=current_app.extensions["checks"])


@views.put("/services/<service>")
def report(service):
    try:
        current_app.extensions["checks"].report(service, request.get_json()["state"])
    except KeyError:
        abort(404)
    return "", 204


@views.get("/up")
def up():
    return "up"
