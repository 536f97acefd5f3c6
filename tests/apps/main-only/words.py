import collections
import re


class Words:
    def __init__(self, text):
        self.counted = collections.Counter(re.findall(r"[\w']+", text.lower()))

    @property
    def total(self):
        return sum(self.counted.values())

    def most_common(self):
        return self.counted.most_common(10)
