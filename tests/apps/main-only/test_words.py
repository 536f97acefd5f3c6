import unittest

from main import build
from words import Words


class TestWords(unittest.TestCase):
    def test_case_is_nothing(self):
        self.assertEqual(Words("The the THE").most_common(), [("the", 3)])

    def test_nothing(self):
        self.assertEqual(Words("").total, 0)


class TestPage(unittest.TestCase):
    def test_count(self):
        page = build().test_client().post("/", data={"text": "to be or not to be"})
        self.assertIn("6 words", page.text)
