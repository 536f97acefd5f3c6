from flask import Flask, abort, render_template

from .library import Library


def create_app(library: Library | None = None) -> Flask:
    app = Flask(__name__)
    books = library or Library.bundled()

    @app.get("/")
    def shelf() -> str:
        return render_template("shelf.html", books=books.by_year())

    @app.get("/books/<isbn>")
    def book(isbn: str):
        found = books.find(isbn)
        if found is None:
            abort(404)
        return render_template("book.html", book=found)

    return app


app = create_app()
