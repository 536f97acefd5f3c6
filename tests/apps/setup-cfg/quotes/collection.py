import datetime

QUOTES = [
    ("We can only see a short distance ahead.", "Alan Turing"),
    ("That brain of mine is something more than merely mortal.", "Ada Lovelace"),
]


def today():
    return QUOTES[datetime.date.today().toordinal() % len(QUOTES)]
