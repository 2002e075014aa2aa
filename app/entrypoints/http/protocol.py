"""HTTP as uvicorn reads it, but with a problem for an answer where even the parser gives up."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.entrypoints.http.problems import MEDIA_TYPE, ProblemError, respond


class ProblemHttpProtocol(HttpToolsProtocol):
    """Answers what is no HTTP request with `malformed-request`."""

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong and hang up."""
        body = bytes(respond("/", ProblemError("malformed-request", msg)).body)
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
