"""Numbers as short words, and back."""

ALPHABET = "bcdfghjkmnpqrstvwxyz"


def word(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
        if number == 0:
            return digits


def number(word: str) -> int:
    value = 0
    for letter in word:
        value = value * len(ALPHABET) + ALPHABET.index(letter)
    return value
