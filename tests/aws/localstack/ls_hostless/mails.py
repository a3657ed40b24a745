"""LocalStack core has no SES of version 2. Take its one request that we make, check its form (API reference, `SendEmail`), and keep what was sent: GET /_hostless/mails."""
import base64
import json
import uuid

from localstack.runtime import hooks
from rolo import Request, Response

SENT = []


def refused(why):
    body = json.dumps({"message": why})
    headers = {"x-amzn-errortype": "BadRequestException"}
    return Response(body, status=400, mimetype="application/json", headers=headers)


def send(request: Request, **_):
    signed = request.headers.get("authorization", "")
    if not signed.startswith("AWS4-HMAC-SHA256") or "/ses/aws4_request" not in signed:
        return Response("{}", status=403, mimetype="application/json")
    mail = request.get_json(force=True)
    if set(mail) - {"FromEmailAddress", "Destination", "Content", "EmailTags", "ConfigurationSetName"}:
        return refused(f"unknown members: {sorted(mail)}")
    to = mail.get("Destination", {}).get("ToAddresses")
    raw = mail.get("Content", {}).get("Raw", {}).get("Data")
    if not mail.get("FromEmailAddress") or not to or not raw:
        return refused("FromEmailAddress, Destination.ToAddresses and Content.Raw.Data are required here")
    message = base64.b64decode(raw, validate=True).decode()
    SENT.append({"from": mail["FromEmailAddress"], "to": to, "message": message})
    return Response(json.dumps({"MessageId": str(uuid.uuid4())}), mimetype="application/json")


def sent(_: Request, **__):
    return Response(json.dumps(SENT), mimetype="application/json")


@hooks.on_infra_start()
def take_mails():
    from localstack.services.edge import ROUTER

    ROUTER.add("/v2/email/outbound-emails", send, methods=["POST"])
    ROUTER.add("/_hostless/mails", sent, methods=["GET"])
