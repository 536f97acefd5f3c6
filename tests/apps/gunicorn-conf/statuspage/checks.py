class Checks:
    """What was last heard of each service."""

    def __init__(self, services):
        self.states = dict.fromkeys(services, "unknown")

    def report(self, service, state):
        if service not in self.states:
            raise KeyError(service)
        self.states[service] = state

    @property
    def all_well(self):
        return "down" not in self.states.values()
