"""A mail server that keeps what it receives."""

from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class MailBox:
    """A handler for aiosmtpd's Controller. `url` is where the server listens."""

    url: str
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the mail."""
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return "250 OK"

    def bodies_to(self, address: str) -> list[str]:
        """The texts of the mails to an address, in the order of their arrival."""
        return [mail.get_content().strip() for mail in self.mails if mail["To"] == address]
