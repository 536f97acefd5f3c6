from flask import Blueprint, current_app, jsonify

from polls import count

bp = Blueprint("api", __name__, url_prefix="/api")


@bp.get("/polls")
def polls():
    return jsonify([
        {"question": question, "votes": count.result(question, answers)}
        for question, answers in current_app.config["POLLS"].items()
    ])
