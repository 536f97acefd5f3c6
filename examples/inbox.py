#!/usr/bin/env python3
"""A mailbox for webhooks: prints each notice it gets in one line.

    inbox.py [PORT]      POST /developer, POST /ops, …: the path is the name in brackets

Standard library only, loopback only; for demonstrations.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_BYTES_MAX = 1 << 20  # a notice is a few hundred bytes
LINE_CHARACTERS_MAX = 400


def in_one_line(body):
    """What a person wants to see of a notice: its text, or else all of it."""
    try:
        notice = json.loads(body)
    except ValueError:
        notice = body.decode("utf-8", "replace")
    if isinstance(notice, dict):
        notice = notice.get("text") or notice
    if not isinstance(notice, str):
        notice = json.dumps(notice, ensure_ascii=False)
    return " ".join(notice.split())[:LINE_CHARACTERS_MAX]


class Inbox(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = set()

    def do_POST(self):
        size = int(self.headers.get("content-length") or 0)
        if size > BODY_BYTES_MAX:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(size)
        # Notices are sent at least once; the key tells a repeat from a second one.
        key = self.headers.get("idempotency-key")
        if key is None or key not in self.seen:
            self.seen.add(key)
            print(f"[inbox] {self.path.strip('/') or 'somebody'}: {in_one_line(body)}", flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Prints nothing: the notices are the log."""


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Inbox)
    print(f"[inbox] listening on http://127.0.0.1:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
