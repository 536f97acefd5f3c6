from datetime import date

from flask import Blueprint, render_template, url_for, redirect

bp = Blueprint("report", __name__)

SKIES = ["sun", "clouds", "rain", "fog", "snow", "storm", "wind"]


def sky_of(day):
    return SKIES[day.toordinal() % len(SKIES)]


@bp.route("/")
def today():
    return redirect(url_for("report.of_day", day=date.today().isoformat()))


@bp.route("/on/<day>")
def of_day(day):
    try:
        when = date.fromisoformat(day)
    except ValueError:
        return render_template("error.html", day=day), 400
    return render_template("report.html", day=when, sky=sky_of(when))


@bp.route("/healthz")
def healthz():
    return "ok\n", {"content-type": "text/plain"}
