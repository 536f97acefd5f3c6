import sqlalchemy as sa
from flask import Blueprint, redirect, render_template, request, url_for

from journal_app import db
from journal_app.models import Entry

bp = Blueprint("entries", __name__)


@bp.route("/", methods=["GET", "POST"])
def all():
    if request.method == "POST":
        db.session.add(Entry(body=request.form["body"]))
        db.session.commit()
        return redirect(url_for("entries.all"))
    entries = db.session.scalars(sa.select(Entry).order_by(Entry.written.desc()))
    return render_template("entries.html", entries=entries)
