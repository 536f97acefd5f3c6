"""A guestbook that forgets everything when it is restarted."""

from datetime import datetime, timezone

from flask import Flask, flash, redirect, render_template, request, url_for

app = Flask(__name__)
app.secret_key = "change me"

entries = []


@app.route("/")
def index():
    return render_template("index.html", entries=reversed(entries))


@app.route("/sign", methods=["POST"])
def sign():
    name = request.form.get("name", "").strip()
    text = request.form.get("text", "").strip()
    if not name or not text:
        flash("Please say who you are, and something nice.")
    else:
        entries.append({"name": name, "text": text, "at": datetime.now(timezone.utc)})
    return redirect(url_for("index"))


if __name__ == "__main__":
    app.run(debug=True)
