"""A mail server for the tests: prints its port, then each mail that it took as a line of JSON, as
Python's own library reads it. Addresses that begin with `busy` are not taken now, those with `gone`
never."""

import asyncio
import json
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP


class Mailbox:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("busy"):
            return "451 try again later"
        if address.startswith("gone"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        part = {kind: message.get_body((kind,)) for kind in ("plain", "html")}
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in message.items()],
            "type": message.get_content_type(),
            "parts": [part.get_content_type() for part in message.iter_parts()],
            "text": part["plain"].get_content() if part["plain"] else None,
            "html": part["html"].get_content() if part["html"] else None,
            "defects": [str(defect) for one in message.walk() for defect in one.defects],
        }
        print(json.dumps(mail), flush=True)
        return "250 OK"


async def serve(port):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Mailbox()), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Until whoever started it is gone.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(serve(int(sys.argv[1])))
