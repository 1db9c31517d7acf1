"""A local file server that can break connections, send wrong bytes, or ignore Range."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

WRONG = bytes(range(255, -1, -1))  # each byte's opposite


class Site:
    """A server of `files` {path: bytes} that keeps a log of (path, first byte asked for).

    `breaks` {path: n}: n times the connection closes after 40 % of the requested bytes. `corrupt`
    {path: n}: n times every byte that is sent is wrong. `ranges=False`: Range is ignored. `heads`
    {path: headers}: what a HEAD request is answered with.
    """

    def __init__(self) -> None:
        self.files, self.breaks, self.corrupt, self.heads, self.log = {}, {}, {}, {}, []
        self.ranges = True
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.answer(self)

            def do_HEAD(self):
                site.answer_head(self)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self.thread.start()

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def publish(self, model_id: str, commit: str, files: dict[str, bytes]) -> None:
        """Serve a model as the Hugging Face hub does: at `main` and at `commit`."""
        for name, body in files.items():
            tag = hashlib.sha256(body).hexdigest() if name.endswith(".safetensors") else "0" * 40
            for revision in ("main", commit):
                path = f"/{model_id}/resolve/{revision}/{name}"
                self.files[path] = body
                self.heads[path] = {
                    "X-Repo-Commit": commit, "ETag": f'"{tag}"', "Content-Length": str(len(body)),
                }  # fmt: skip

    def answer_head(self, request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        if path not in self.heads:
            request.send_error(404)
            return
        request.send_response(200)
        for header, value in self.heads[path].items():
            request.send_header(header, value)
        request.end_headers()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        if path not in self.files:
            request.send_error(404)
            return
        whole = self.files[path]
        asked = request.headers.get("Range") if self.ranges else None
        first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        self.log.append((path, first))
        request.send_response(206 if asked else 200)
        if asked:
            request.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}")
        request.send_header("Content-Length", str(len(whole) - first))
        request.end_headers()
        body = memoryview(whole)[first:]
        if self.corrupt.get(path, 0):
            self.corrupt[path] -= 1
            body = bytes(body).translate(WRONG)
        if self.breaks.get(path, 0):
            self.breaks[path] -= 1
            body = body[: len(body) * 2 // 5]
        request.wfile.write(body)
