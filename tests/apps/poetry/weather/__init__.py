from flask import Flask

from weather.report import bp


app = Flask(__name__)
app.register_blueprint(bp)
