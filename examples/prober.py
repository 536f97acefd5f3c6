#!/usr/bin/env python3
"""A user who never stops clicking: asks for a page over and over and counts what comes back.

    prober.py URL        until SIGTERM, then prints its count as JSON

A request fails when there is no answer or it is not a 200. The version is what the page has in
`<code id="version">`. Standard library only.
"""

import http.client
import json
import re
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter

PER_SECOND = 50
TIMEOUT_S = 5
FAILURES_TOLD_MAX = 5

VERSION = re.compile(rb'id="version">([^<]*)<')


def main():
    url = sys.argv[1]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A proxy set for the outside world has no business between two ports of one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    versions, failures, failed, slowest_ms, started = Counter(), [], 0, 0.0, time.monotonic()
    due = started
    while not stop.is_set():
        begun = time.monotonic()
        try:
            with opener.open(url, timeout=TIMEOUT_S) as answer:
                found = VERSION.search(answer.read())
                versions[found.group(1).decode() if found else "?"] += 1
        except (OSError, http.client.HTTPException) as error:  # urllib's own errors are OSErrors
            failed += 1
            if len(failures) < FAILURES_TOLD_MAX:
                failures.append(f"after {begun - started:.1f} s: {error}")
        slowest_ms = max(slowest_ms, (time.monotonic() - begun) * 1000)
        due = max(due + 1 / PER_SECOND, begun)
        stop.wait(due - time.monotonic())

    json.dump(
        {
            "requests": versions.total() + failed,
            "failed": failed,
            "failures": failures,
            "versions": versions,
            "slowest_ms": round(slowest_ms),
            "seconds": round(time.monotonic() - started, 1),
        },
        sys.stdout,
    )
    print()


if __name__ == "__main__":
    main()
