"""Delivers a push as a forge does, signed by Python's hmac: GitHub's, Gitea's or GitLab's form.

usage: deliver.py FORGE URL SECRET BEFORE AFTER [TIMES]

Prints one line of JSON for each answer: [status, body]. With TIMES the same delivery is sent so often at once.
"""

import base64
import concurrent.futures
import hashlib
import hmac
import json
import sys
import time
import urllib.error
import urllib.request
import uuid

AUTHOR = {"name": "Ada", "email": "ada@example.com", "username": "ada"}


def commit(sha):
    return {
        "id": sha,
        "message": "A new version\n",
        "timestamp": "2026-01-01T00:00:00Z",
        "author": AUTHOR,
        "committer": AUTHOR,
        "added": [],
        "removed": [],
        "modified": ["VERSION"],
    }


def body(forge, before, after):
    push = {
        "ref": "refs/heads/main",
        "before": before,
        "after": after,
        "commits": [commit(after)],
        # What is fetched is what the app is registered with, whatever stands here.
        "repository": {"full_name": "ada/hello", "clone_url": "https://nowhere.invalid/hello.git"},
    }
    if forge == "gitlab":
        push |= {"object_kind": "push", "event_name": "push", "checkout_sha": after}
        push |= {"user_username": "ada", "total_commits_count": 1}
    else:
        push |= {"head_commit": commit(after), "sender": {"login": "ada"}, "pusher": {"name": "ada"}}
        push |= {"forced": False} if forge == "github" else {"total_commits": 1}
    return json.dumps(push).encode()


def headers(forge, secret, payload):
    delivery = str(uuid.uuid4())
    hexadecimal = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
    if forge == "github":
        return {
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": f"sha256={hexadecimal}",
        }
    if forge == "gitea":
        return {"X-Gitea-Event": "push", "X-Gitea-Delivery": delivery, "X-Gitea-Signature": hexadecimal}
    stamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{delivery}.{stamp}.".encode() + payload, hashlib.sha256).digest()
    return {
        "X-Gitlab-Event": "Push Hook",
        "webhook-id": delivery,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
    }


def send(request):
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [answer.status, json.load(answer)]
    except urllib.error.HTTPError as error:
        return [error.code, json.load(error)]


def main():
    forge, url, secret, before, after = sys.argv[1:6]
    times = int(sys.argv[6]) if len(sys.argv) > 6 else 1
    payload = body(forge, before, after)
    request = urllib.request.Request(
        url, payload, headers(forge, secret, payload) | {"Content-Type": "application/json"}, method="POST"
    )
    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        for answer in pool.map(send, [request] * times):
            print(json.dumps(answer))


main()
