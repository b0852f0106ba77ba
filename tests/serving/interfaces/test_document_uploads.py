"""Documents that a server is sent: by clients as they are on the registry, and by those who mean harm."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import deepl
import docx
import pytest
import requests

from mtmoe.documents.document import DocumentOptions
from mtmoe.documents.formats.html import read
from mtmoe.inference.translator import Translator
from tests.inference.conftest import SENTENCES

PAGE = f"<h1>{SENTENCES[0]}</h1>\n<p><b>{SENTENCES[1]}</b> {SENTENCES[2]}</p>\n".encode()


def word_document(path: Path) -> None:
    made = docx.Document()
    for sentence in SENTENCES[:3]:
        made.add_paragraph(sentence)
    made.save(str(path))


def test_deepl_translates_a_document(keyed: Any, translator: Translator, tmp_path: Path) -> None:
    server, key = keyed
    client = deepl.Translator(key, server_url=server.url)
    word_document(tmp_path / "a.docx")
    status = client.translate_document_from_filepath(
        tmp_path / "a.docx", tmp_path / "b.docx", source_lang="EN", target_lang="FR"
    )
    assert status.done
    paragraphs = [" ".join(each.text.split()) for each in docx.Document(str(tmp_path / "b.docx")).paragraphs]
    assert paragraphs == [each.text for each in translator.translate(SENTENCES[:3])]
    handle = client.translate_document_upload(b"no zip", target_lang="FR", filename="a.docx")
    failed = client.translate_document_wait_until_done(handle)
    assert not failed.ok
    assert "is no zip file" in str(failed.error_message)
    with pytest.raises(deepl.DeepLException, match="files of this kind are not translated"):
        client.translate_document_upload(b"MZ", target_lang="FR", filename="a.exe")
    stranger = deepl.DocumentHandle(handle.document_id, "0" * 64)
    with pytest.raises(deepl.DeepLException, match="no such document"):
        client.translate_document_get_status(stranger)


def upload(server: Any, name: str, content: bytes, key: str = "", **fields: str) -> requests.Response:
    data = {"source": "en", "target": "fr", "api_key": key, **fields}
    return requests.post(f"{server.url}/translate_file", files={"file": (name, content)}, data=data, timeout=60)


@pytest.mark.parametrize(
    ("prefix", "shown"), [("/mt/", "/mt"), ("/a/b", "/a/b"), ("//elsewhere.org", ""), ('/a b"<', ""), ("", "")]
)
def test_the_address_of_a_translation_is_the_one_that_a_proxy_is_asked_at(keyed: Any, prefix: str, shown: str) -> None:
    server, key = keyed
    headers = {"Host": "translate.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": prefix}
    data = {"source": "en", "target": "fr", "api_key": key}
    files = {"file": ("a.txt", b"Where?")}
    answer = requests.post(f"{server.url}/translate_file", files=files, data=data, headers=headers, timeout=60)
    url = answer.json()["translatedFileUrl"]
    assert url.startswith(f"https://translate.example.org{shown}/download_file/")


def test_libretranslate_translates_a_file(keyed: Any, translator: Translator) -> None:
    server, key = keyed
    answer = upload(server, "../../a.html", PAGE, key)
    assert answer.status_code == 200
    fetched = requests.get(answer.json()["translatedFileUrl"], timeout=60)
    document = read(PAGE, "a.html", DocumentOptions("en", "fr"))
    assert fetched.content == document.content(translator.translate(document.lines, with_alignment=True))
    assert fetched.headers["content-disposition"] == 'attachment; filename="translation.html"'
    assert fetched.headers["x-content-type-options"] == "nosniff"
    text = upload(server, "a.txt", SENTENCES[0].encode(), key)
    assert (
        requests.get(text.json()["translatedFileUrl"], timeout=60).text == translator.translate(SENTENCES[:1])[0].text
    )
    assert upload(server, "a.html", PAGE).status_code == 403
    settings = server.send("GET", "/frontend/settings").json
    assert settings["filesTranslation"]
    assert ".docx" in settings["supportedFilesFormat"]


def bomb() -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as container:
        container.writestr("content.xml", bytes(1 << 25))
    return output.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "status", "message"),
    [
        ("a.odt", bomb(), 400, "bytes in memory"),
        ("a.docx", b"PK", 400, "is no zip file"),
        ("a.xlf", b'<!DOCTYPE x [<!ENTITY a "b">]><xliff>&a;</xliff>', 400, "declares the entity"),
        ("a.html", bytes([0xFF]) * 9, 400, "is not utf-8"),
        ("a.bin", b"x", 400, "not translated"),
        ("a.html", b"x" * 20_100_000, 413, "too large"),
    ],
)
def test_documents_that_do_harm_are_refused(name: str, content: bytes, status: int, message: str, server: Any) -> None:
    answer = upload(server, name, content)
    assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text


def test_a_form_without_a_file_and_other_paths_are_refused(server: Any) -> None:
    for body, kind in (
        (b"x", "multipart/form-data; boundary=b"),
        (b"source=en&target=fr", ""),
        (b"--b", "multipart/form-data"),
    ):
        answer = server.send(
            "POST", "/translate_file", body, {"Content-Type": kind or "application/x-www-form-urlencoded"}
        )
        assert answer.status == 400
    assert server.send("GET", "/download_file/..%2f..%2fetc%2fpasswd").status == 404
    assert server.send("POST", "/v2/document/abc/result", document_key="x").status == 404
