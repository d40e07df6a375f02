"""Pushing to the hub: to a small server here that answers as the hub does."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from search.export.push import push
from search.settings.problems import InputError


class Hub(ThreadingHTTPServer):
    """Keeps the files of each repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.made: dict[str, str] = {}
        self.files: dict[str, str] = {}


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub, path, status = self.server, self.path, 200
        answer: object = {}
        if path.endswith("/repos/create"):
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            status = 400 if asked["organization"] == "other" else 200
            hub.made[name] = asked["visibility"]
            answer = {"url": f"{hub.address}/{name}", "error": "you may not write there"}
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            answer = {"files": [{"path": one["path"]} | plain for one in files]}
        elif "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    hub.files[value["path"]] = base64.b64decode(value["content"]).decode()
            answer = {"commitUrl": f"{hub.address}/me/mine/commit/1", "commitOid": "1"}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as made:
        Thread(target=made.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", made.address)
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        yield made
        made.shutdown()


def test_a_folder_goes_to_a_private_repository(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "1_Dense").mkdir()
    written = {"README.md": "# A card", "1_Dense/model.safetensors": "weights"}
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    assert push(tmp_path, "me/mine", "Trial 3") == f"{hub.address}/me/mine"
    assert hub.made == {"me/mine": "private"}
    assert hub.files == written


def test_a_refusal_of_the_hub_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        push(tmp_path, "other/mine", "Trial 3")
    (problem,) = caught.value.problems
    assert str(problem).startswith("--push is 'other/mine', but it failed: ")
    assert "you may not write there" in str(problem) and "\n" not in str(problem)
