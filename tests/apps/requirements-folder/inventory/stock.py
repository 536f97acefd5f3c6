from flask import Blueprint, current_app, render_template

blueprint = Blueprint("stock", __name__, template_folder="templates")

STOCK = {"bolts": 250, "nuts": 2, "washers": 40}


def is_low(count, limit):
    return count < limit


@blueprint.route("/")
def overview():
    limit = current_app.config["LOW"]
    rows = [(name, count, is_low(count, limit)) for name, count in sorted(STOCK.items())]
    return render_template("overview.html", rows=rows)
