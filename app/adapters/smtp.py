"""Mail over SMTP."""

import logging
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib

from app.service_layer.notifications import Mail, MailRefusedError
from app.service_layer.ports import TemporarilyUnavailableError

log = logging.getLogger(__name__)

SMTP_TIMEOUT = 10
_PERMANENT = range(500, 600)


class SmtpMailer:
    """Implements `Mailer` over `smtp://[user:password@]host:port`, or `smtps://…` for TLS from the first byte.

    With `tls`, STARTTLS is required of an smtp:// server. Without, the connection is not encrypted.
    """

    def __init__(self, url: str, sender: str, *, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            message = f"{parts.scheme}:// is not a mail server; use smtp://host:port"
            raise ValueError(message)
        self._tls_from_the_start = parts.scheme == "smtps"
        self._tls = tls
        self._host = parts.hostname
        self._port = parts.port or (465 if self._tls_from_the_start else 25)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """Send the mail. Raises MailRefusedError, TemporarilyUnavailableError."""
        try:
            await aiosmtplib.send(
                self._compose(mail),
                **self._connection(),
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(refusal.code in _PERMANENT for refusal in error.recipients):
                raise MailRefusedError(str(error)) from error
            raise TemporarilyUnavailableError(str(error)) from error
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            if error.code in _PERMANENT:
                raise MailRefusedError(str(error)) from error
            raise TemporarilyUnavailableError(str(error)) from error
        # Before ValueError: the error of an invalid certificate is a ValueError as well.
        except (aiosmtplib.SMTPException, OSError) as error:
            raise TemporarilyUnavailableError(str(error)) from error
        except ValueError as error:
            raise MailRefusedError(str(error)) from error

    async def check(self) -> None:
        """Connect and log in without sending mail. Raises TemporarilyUnavailableError with the reason."""
        try:
            async with aiosmtplib.SMTP(**self._connection()) as server:
                await server.noop()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise TemporarilyUnavailableError(str(error)) from error

    @property
    def address(self) -> str:
        """Host and port of the server."""
        return f"{self._host}:{self._port}"

    def _connection(self) -> dict[str, Any]:
        return {
            "hostname": self._host,
            "port": self._port,
            "username": self._user,
            "password": self._password,
            "use_tls": self._tls_from_the_start,
            "start_tls": self._tls is not None and not self._tls_from_the_start,
            "tls_context": self._tls,
            "timeout": SMTP_TIMEOUT,
        }

    def _compose(self, mail: Mail) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2] or None)
        message.set_content(mail.body)
        return message


class LogMailer:
    """Implements `Mailer` without a mail server: mail is only logged."""

    async def send(self, mail: Mail) -> None:
        """Log the mail."""
        log.info("mail to %s: %s", mail.to, mail.body)
