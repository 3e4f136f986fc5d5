"""A small server that speaks the paths of the Hugging Face hub, and plain pages beside them.

`GET` and `HEAD` of `/{repo}/resolve/{revision}/{file}` answer with the headers that the hub's client
reads. Repositories may be gated, tokens refused, connections cut, and every request is recorded.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

# How long `stop` may take.
_POLL_S: Final = 0.02
_RESOLVE: Final = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class Request(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    token: str | None


@dataclass
class Repository:
    """The files of each commit, and what its branches point at."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    is_gated: bool = False


@dataclass
class Cut:
    """Connections to be closed after so many bytes of the file; `times` counts down."""

    after_bytes: int
    times: int


@dataclass
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


class HubServer:
    """The server, on a free port of this machine.

    Attributes:
        tokens: Tokens that the hub knows; others are refused even for public files.
        members: Tokens of those who accepted the terms of gated repositories.
        pages: Content by path, outside of any repository.
        cuts: Connections to be cut, by path.
        requests: All requests for files so far; the client's own questions under `/api/` may come at
            any time.
    """

    def __init__(self) -> None:
        """Take a port; `start` begins to answer."""
        self.tokens: set[str] = set()
        self.members: set[str] = set()
        self.pages: dict[str, bytes] = {}
        self.cuts: dict[str, Cut] = {}
        self.requests: list[Request] = []
        self._repositories: dict[str, Repository] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            """Answers from the state of `server`."""

            def do_HEAD(self) -> None:
                server._respond(self, has_body=False)

            def do_GET(self) -> None:
                server._respond(self, has_body=True)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_S,), daemon=True
        )

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Where the server is, without a slash at the end."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def repository(self, repo_id: str) -> Repository:
        """A repository, made at its first mention."""
        return self._repositories.setdefault(repo_id, Repository())

    def add(self, address: str, content: bytes) -> None:
        """Put a file where `hf://owner/repo/file@commit` points."""
        owner, repo, rest = address.removeprefix("hf://").split("/", 2)
        path, _, commit = rest.partition("@")
        self.repository(f"{owner}/{repo}").commits.setdefault(commit, {})[path] = content

    @staticmethod
    def path_of(address: str) -> str:
        """The path that a client asks for the file at `hf://owner/repo/file@revision`."""
        owner, repo, rest = address.removeprefix("hf://").split("/", 2)
        path, _, revision = rest.partition("@")
        return f"/{owner}/{repo}/resolve/{revision or 'main'}/{path}"

    def asked_for(self, path: str) -> list[Request]:
        """The requests for one path."""
        return [request for request in self.requests if request.path == path]

    def _respond(self, handler: BaseHTTPRequestHandler, *, has_body: bool) -> None:
        path = unquote(urlsplit(handler.path).path)
        given = handler.headers.get("Authorization", "")
        token = given.removeprefix("Bearer ") or None
        if not path.startswith("/api/"):
            self.requests.append(Request(handler.command, path, token))
        answer = self._answer(path, token)
        start = self._start(handler.headers.get("Range"))
        body = answer.body[start:]
        status = 206 if answer.status == 200 and start else answer.status
        handler.send_response(status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        if status == 206:
            span = f"bytes {start}-{len(answer.body) - 1}/{len(answer.body)}"
            handler.send_header("Content-Range", span)
        handler.end_headers()
        if not has_body:
            return
        cut = self.cuts.get(path)
        if cut is not None and cut.times > 0:
            cut.times -= 1
            body = body[: max(0, cut.after_bytes - start)]
            handler.close_connection = True
        handler.wfile.write(body)

    @staticmethod
    def _start(header: str | None) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", header or "")
        return int(match[1]) if match else 0

    def _answer(self, path: str, token: str | None) -> _Answer:
        if path in self.pages:
            return _Answer(200, {"Content-Type": "application/octet-stream"}, self.pages[path])
        match = _RESOLVE.fullmatch(path)
        if match is None:
            return _Answer(404, {})
        if token is not None and token not in self.tokens | self.members:
            message = "Invalid credentials in Authorization header"
            return _Answer(401, {"X-Error-Message": message})
        repository = self._repositories.get(match["repo"])
        if repository is None:
            status = 404 if token else 401
            return _Answer(status, {"X-Error-Code": "RepoNotFound"})
        if repository.is_gated and token not in self.members:
            status = 403 if token else 401
            return _Answer(status, {"X-Error-Code": "GatedRepo", "X-Error-Message": "restricted"})
        commit = repository.branches.get(match["revision"], match["revision"])
        files = repository.commits.get(commit)
        if files is None:
            return _Answer(404, {"X-Error-Code": "RevisionNotFound"})
        content = files.get(match["file"])
        if content is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            return _Answer(404, headers)
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            "Accept-Ranges": "bytes",
        }
        return _Answer(200, headers, content)
