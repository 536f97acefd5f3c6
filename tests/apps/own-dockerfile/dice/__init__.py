from dice.web import app

__all__ = ["app"]
