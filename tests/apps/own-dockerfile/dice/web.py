import random

from flask import Flask, jsonify, request

from dice.roll import roll

app = Flask(__name__)
source = random.SystemRandom()


@app.route("/")
def index():
    return "<h1>Roll the dice</h1><a href='/roll?dice=2d6'>2d6</a>"


@app.route("/roll")
def rolled():
    try:
        return jsonify(result=roll(request.args.get("dice", "1d6"), source))
    except ValueError as error:
        return jsonify(error=str(error)), 400


@app.route("/health")
def health():
    return jsonify(healthy=True)
