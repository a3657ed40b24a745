"""The runtime of a Python function, as `bootstrap` of `provided.al2023`: the handler is `tool.$HANDLER`."""
import json, os, types, urllib.request

import tool

API = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/"


def send(path, value):
    urllib.request.urlopen(urllib.request.Request(API + path, json.dumps(value).encode())).close()


while True:
    with urllib.request.urlopen(API + "next") as got:
        event, headers = json.load(got), got.headers
    request = headers["Lambda-Runtime-Aws-Request-Id"]
    client = json.loads(headers.get("Lambda-Runtime-Client-Context", "{}"))
    context = types.SimpleNamespace(
        invoked_function_arn=headers["Lambda-Runtime-Invoked-Function-Arn"],
        client_context=types.SimpleNamespace(custom=client.get("custom")))
    try:
        send(f"{request}/response", getattr(tool, os.environ["HANDLER"])(event, context))
    except Exception as error:
        send(f"{request}/error", {"errorType": type(error).__name__, "errorMessage": str(error)})
