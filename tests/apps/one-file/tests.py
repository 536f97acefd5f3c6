import unittest

from app import app, entries


class GuestbookCase(unittest.TestCase):
    def setUp(self):
        entries.clear()
        app.config["TESTING"] = True
        self.client = app.test_client()

    def test_empty_book(self):
        page = self.client.get("/")
        self.assertEqual(page.status_code, 200)
        self.assertIn(b"Be the first!", page.data)

    def test_sign(self):
        page = self.client.post("/sign", data={"name": "Ada", "text": "Lovely."}, follow_redirects=True)
        self.assertIn(b"Lovely.", page.data)
        self.assertEqual(len(entries), 1)

    def test_an_empty_text_is_not_kept(self):
        page = self.client.post("/sign", data={"name": "Ada", "text": " "}, follow_redirects=True)
        self.assertIn(b"something nice", page.data)
        self.assertEqual(entries, [])


if __name__ == "__main__":
    unittest.main()
