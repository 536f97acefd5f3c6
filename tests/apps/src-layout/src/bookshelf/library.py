from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Book:
    isbn: str
    title: str
    author: str
    year: int


class Library:
    def __init__(self, books: list[Book]) -> None:
        self._books = {book.isbn: book for book in books}

    @classmethod
    def bundled(cls) -> Library:
        text = resources.files(__package__).joinpath("books.json").read_text("utf-8")
        return cls([Book(**entry) for entry in json.loads(text)])

    def by_year(self) -> list[Book]:
        return sorted(self._books.values(), key=lambda book: book.year)

    def find(self, isbn: str) -> Book | None:
        return self._books.get(isbn.replace("-", ""))
