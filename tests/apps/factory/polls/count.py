"""Votes, in memory."""

from collections import Counter, defaultdict

_votes = defaultdict(Counter)


def vote(question, answer):
    _votes[question][answer] += 1


def result(question, answers):
    return {answer: _votes[question][answer] for answer in answers}


def forget():
    _votes.clear()
