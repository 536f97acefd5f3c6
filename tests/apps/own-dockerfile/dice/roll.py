import re

NOTATION = re.compile(r"(\d{1,2})d(\d{1,3})([+-]\d{1,3})?")


def parse(text):
    """Return count, sides and what is added: 2d6+1."""
    match = NOTATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no roll")
    count, sides, added = match.groups()
    return int(count), int(sides), int(added or 0)


def roll(text, random):
    count, sides, added = parse(text)
    return sum(random.randint(1, sides) for _ in range(count)) + added
