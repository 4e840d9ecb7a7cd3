import time

import flask

app = flask.Flask(__name__)


@app.route("/")
def hello():
    time.sleep(0.05)  # so that whoever kills it kills it amid a request
    return "Hello from Flask\n"
