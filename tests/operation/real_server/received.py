"""Receive alerts as web hooks and as mails, and keep them."""

from __future__ import annotations

import email
import email.policy
import json
import socketserver
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar


class Hook(BaseHTTPRequestHandler):
    """Keeps the titles and texts that are posted."""

    received: ClassVar[list[tuple[str, str]]] = []

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.append((told["title"], told["message"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *said: Any) -> None:
        """Stay silent."""


class Mail(socketserver.StreamRequestHandler):
    """Speaks as much SMTP as a message needs."""

    received: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while (line := self.rfile.readline()) != b".\r\n":
                    text += line
                self.received.append(text.decode())
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 well\r\n")


def with_title(part: str) -> list[tuple[str, str]]:
    return [told for told in Hook.received if part in told[0]]


def mails() -> list[tuple[str, str]]:
    """Return subject and text of the mails that came."""
    found = [email.message_from_string(mail, policy=email.policy.default) for mail in Mail.received]
    return [
        (str(mail["Subject"]), body.get_content() if (body := mail.get_body()) else "")
        for mail in found
    ]
