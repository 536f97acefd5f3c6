from datetime import datetime, timezone

import sqlalchemy as sa
import sqlalchemy.orm as so

from journal_app import db


class Entry(db.Model):
    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    body: so.Mapped[str] = so.mapped_column(sa.Text)
    written: so.Mapped[datetime] = so.mapped_column(index=True, default=lambda: datetime.now(timezone.utc))

    def __repr__(self):
        return f"<Entry {self.id}>"
