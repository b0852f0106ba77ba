"""A server of the hub's protocol, as far as pushing and pulling a model goes: repositories, Git LFS, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import yaml

TOKEN = "hf_secretTokenOfAnna"
READER = "hf_secretTokenOfBen"
LICENSES = ("unknown", "apache-2.0", "cc-by-4.0")


class Seen(NamedTuple):
    """A request that came."""

    method: str
    path: str
    authorization: str


class FakeHub:
    """A hub on a free port. Of two users: ``TOKEN`` may write, ``READER`` may read."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self.cut_after: int | None = None
        """Bytes after which the next download breaks off."""
        self.status: int | None = None
        """What every request is answered, if it is set."""
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.storage_url = f"http://localhost:{self.port}"
        """Another host, as the hub's storage is, which is not to know the token."""
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked(self, pattern: str) -> list[Seen]:
        """Return the requests whose method and path a pattern finds."""
        return [seen for seen in self.seen if re.search(pattern, f"{seen.method} {seen.path}")]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _refuse(self, status: int, code: str = "") -> None:
        self._answer(status, {"error": "no"}, {"X-Error-Code": code} if code else {})

    def handle_any(self) -> None:
        authorization = self.headers.get("Authorization") or ""
        self.hub.seen.append(Seen(self.command, self.path, authorization))
        body = self._body()
        if self.hub.status is not None:
            self._refuse(self.hub.status)
        elif match := re.fullmatch(r"/storage/([0-9a-f]{64})", self.path):
            self._storage(match[1], body)
        elif authorization not in ("", f"Bearer {TOKEN}", f"Bearer {READER}"):
            self._refuse(401)
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif match := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(/[a-z]+/[^/?]+)?([?].*)?", self.path):
            self._of_repository(match[1], match[2] or "", body)
        elif match := re.fullmatch(r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", self.path):
            self._batch(match[1], json.loads(body))
        elif match := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", self.path):
            self._resolve(match[1], match[2], match[3])
        else:
            self._refuse(404)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    @property
    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _seen_repository(self, name: str) -> dict[str, Any] | None:
        """Return a repository that whoever asks may know of."""
        found = self.hub.repositories.get(name)
        return found if found and (self.headers.get("Authorization") or not found["private"]) else None

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self._may_write:
            return self._refuse(403)
        if name in self.hub.repositories:
            return self._answer(409, {"url": f"{self.hub.url}/{name}", "error": "exists"})
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.hub.repositories[name] = {"private": private, "files": {}, "commits": ["0" * 40]}
        return self._answer(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def _validate(self, card: str) -> None:
        front = yaml.safe_load(card.split("---\n")[1])
        if front["license"] in LICENSES:
            return self._answer(200, {"errors": [], "warnings": []})
        return self._answer(400, {"errors": [{"message": '"license" must be one of the known ones'}], "warnings": []})

    def _of_repository(self, name: str, what: str, body: bytes) -> None:
        repository = self._seen_repository(name)
        if repository is None:
            return self._refuse(404 if self.headers.get("Authorization") else 401, "RepoNotFound")
        if what.startswith("/preupload/"):
            if not self._may_write:
                return self._refuse(403)
            return self._answer(200, {"files": [self._upload_mode(file) for file in json.loads(body)["files"]]})
        if what.startswith("/commit/"):
            return self._commit(name, repository, body) if self._may_write else self._refuse(403)
        sha = repository["commits"][-1]
        return self._answer(200, {"id": name, "sha": sha, "private": repository["private"], "siblings": [], "tags": []})

    def _upload_mode(self, file: dict[str, Any]) -> dict[str, Any]:
        is_text = b"\0" not in base64.b64decode(file["sample"])
        mode = "regular" if is_text else "lfs"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _batch(self, name: str, wanted: dict[str, Any]) -> None:
        if self._seen_repository(name) is None or not self._may_write:
            return self._refuse(403)
        objects = []
        for each in wanted["objects"]:
            action = {"upload": {"href": f"{self.hub.storage_url}/storage/{each['oid']}"}}
            there = each["oid"] in self.hub.blobs
            objects.append({**each, **({} if there else {"actions": action})})
        return self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repository: dict[str, Any], body: bytes) -> None:
        before = dict(repository["files"])
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                assert value["oid"] in self.hub.blobs, "committed before it was uploaded"
                repository["files"][value["path"]] = value["oid"]
        if repository["files"] != before:
            repository["commits"].append(hashlib.sha1(body).hexdigest())
        sha = repository["commits"][-1]
        return self._answer(
            200, {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{name}/commit/{sha}"}
        )

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._seen_repository(name)
        if repository is None:
            return self._refuse(404 if self.headers.get("Authorization") else 401, "RepoNotFound")
        if revision not in ("main", *repository["commits"]):
            return self._refuse(404, "RevisionNotFound")
        if path not in repository["files"]:
            return self._refuse(404, "EntryNotFound")
        content, commit = repository["files"][path], {"X-Repo-Commit": repository["commits"][-1]}
        if isinstance(content, bytes):
            return self._answer(200, content, {**commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})
        blob = self.hub.blobs[content]
        linked = {"X-Linked-Etag": f'"{content}"', "X-Linked-Size": str(len(blob))}
        return self._answer(302, b"", {**commit, **linked, "Location": f"{self.hub.storage_url}/storage/{content}"})

    def _storage(self, oid: str, body: bytes) -> None:
        if self.command == "PUT":
            assert hashlib.sha256(body).hexdigest() == oid
            self.hub.blobs[oid] = body
            return self._answer(200)
        content = self.hub.blobs[oid]
        begin = int(re.findall(r"\d+", self.headers.get("Range") or "0")[0])
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        cut, self.hub.cut_after = self.hub.cut_after, None
        self.wfile.write(content[begin:] if cut is None else content[begin : begin + cut])
        if cut is not None:
            self.close_connection = True
        return None
