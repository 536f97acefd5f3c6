from journal_app import create_app, db
from journal_app.models import Entry

app = create_app()


@app.shell_context_processor
def make_shell_context():
    return {"db": db, "Entry": Entry}
