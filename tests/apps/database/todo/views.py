from flask import Blueprint, jsonify, render_template, request

from todo.db import get_cache, get_db

bp = Blueprint("todo", __name__)


@bp.get("/")
def about():
    return render_template("about.html")


@bp.get("/tasks")
def tasks():
    tag = request.args.get("tag")
    rows = get_db().execute(
        "SELECT id, title, done FROM tasks WHERE %(tag)s::text IS NULL OR %(tag)s = ANY (tags) ORDER BY id",
        {"tag": tag},
    )
    get_cache().incr("lists")
    return jsonify([{"id": id, "title": title, "done": done} for id, title, done in rows])


@bp.post("/tasks")
def add():
    task = request.get_json()
    row = get_db().execute(
        "INSERT INTO tasks (title, tags) VALUES (%s, %s) RETURNING id", (task["title"], task.get("tags", []))
    )
    return jsonify(id=row.fetchone()[0]), 201


@bp.get("/healthz")
def healthz():
    return "alive"
