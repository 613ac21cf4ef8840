"""`search.py serve`: every endpoint, every refusal, and answers that are the index's."""

import asyncio
import base64
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sklearn.datasets import load_digits

from dsh_jax import hamming, load_encoder
from dsh_jax.errors import UserError
from dsh_jax.search import arguments, command
from dsh_jax.search.combining import combine
from dsh_jax.search.index import create_index, open_index
from dsh_jax.search.items import Item
from dsh_jax.search.manifest import Manifest
from dsh_jax.search.server.app import create_app
from dsh_jax.search.server.limits import Limits
from dsh_jax.search.server.service import Service
from dsh_jax.search.server.thumbnails import Thumbnails
from tests.commands import ROOT
from tests.search_indexes import Words

MODEL = ROOT / "examples/digits_16bit.safetensors"
QUERY = ROOT / "examples/digits/3a.png"
LIMITS = Limits(upload_bytes=2**20, pixels=10**6, top=50, seconds=20, concurrency=4)
JSON = {"content-type": "application/json"}
DIGITS = load_digits()
PIXELS = (DIGITS.images * 255 / 16).round().astype(np.uint8)[:60]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(MODEL)


@pytest.fixture(scope="module")
def uri(folder, encoder):
    """An index of 60 digits, one of them gone, and of a document."""
    items = []
    for row, code in enumerate(encoder.encode(PIXELS[..., None])):
        path = folder / f"{row:02}.png"
        Image.fromarray(PIXELS[row]).save(path)
        label = str(DIGITS.target[row])
        items.append(Item(f"{label}/{row:02}.png", code.tobytes(), str(path), labels=(label,)))
    (folder / "07.png").unlink()
    words = Item("words", bytes(2), text="<b>some</b> words", metadata={"x": [float("nan"), 1]})
    uri = folder / "digits.index"
    create_index(uri, Manifest(16, encoder.fingerprint, str(MODEL)))
    with open_index(uri, write=True) as index:
        index.add([*items, words])
    return uri


@pytest.fixture(scope="module")
def index(uri):
    with open_index(uri) as index:
        yield index


@pytest.fixture(scope="module")
def services(index, encoder):
    """The index with its encoder and without."""
    digits, codes = Service("digits", index, encoder, "m"), Service("codes", index, None)
    return {"digits": digits, "codes": codes}


@pytest.fixture(scope="module")
def client(services, folder):
    return made(services, folder, hosts=["localhost"])


def made(services, folder, limits=LIMITS, **options):
    app = create_app(services, Thumbnails(folder / "thumbnails"), limits=limits, **options)
    return TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False)


def refused(response, status):
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    return sentence(response.json()["error"])


def sentence(text):
    assert text.endswith(".") and "\n" not in text and "Error" not in text, text
    return text


def wanted(index, code, **options):
    """What the index answers, as JSON writes it."""
    [hits] = index.search(code, **options)
    return json.loads(json.dumps([hit.to_dict() for hit in hits]).replace("NaN", "null"))


def png(width, height, pixels=b""):
    """A PNG that says it has these sizes."""
    def chunk(name, data):
        check = zlib.crc32(name + data).to_bytes(4)
        return len(data).to_bytes(4) + name + data + check

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("asked, options", [
    ({}, {"top": 10}),
    ({"top": 3}, {"top": 3}),
    ({"radius": 4}, {"top": 50, "radius": 4}),
    ({"top": 2, "radius": 0}, {"top": 2, "radius": 0}),
    ({"label": ["3", "8"], "top": 50}, {"top": 50, "labels": ["3", "8"]}),
    ({"label": "none"}, {"labels": ["none"]}),
    ({"unique": 2, "top": 20}, {"top": 20, "unique": 2}),
    ({"radius": 2**16}, {"top": 50, "radius": 16}),
])  # fmt: skip
def test_answers_are_those_of_the_index(client, index, encoder, asked, options):
    code = combine([encoder.relaxed(str(QUERY))[0]], [1])
    response = client.post("/search/image", params=asked, files={"file": QUERY.read_bytes()})
    answer = response.json()
    assert answer["hits"] == wanted(index, code, **options) and answer["num_bits"] == 16
    assert (answer["index"], answer["code"]) == ("digits", code[0].tobytes().hex())
    again = client.post("/search/code", params=asked, json={"code": answer["code"]})
    assert again.json() == answer
    name = index.search(code, top=1)[0][0].item
    own = np.frombuffer(name.code, np.uint8)[None]
    response = client.post("/search/id", params=asked, json={"id": name.id})
    assert response.json()["hits"] == wanted(index, own, **options)


def test_several_queries_are_a_weighted_sum(client, index, encoder):
    item = index.search(encoder.encode(PIXELS[3:4, ..., None]))[0][0].item
    bits = hamming.unpack(np.frombuffer(item.code, np.uint8)[None], 16)[0]
    relaxed = [encoder.relaxed(str(QUERY))[0], bits, [1] * 8 + [0] * 8]
    asked = [
        {"image": base64.b64encode(QUERY.read_bytes()).decode()},
        {"id": item.id, "weight": -0.75}, {"code": "ff00", "weight": 0.5},
    ]  # fmt: skip
    answer = client.post("/search/several", json={"queries": asked}, params={"top": 7}).json()
    code = combine([np.array(each, np.float32) for each in relaxed], [1, -0.75, 0.5])
    assert answer["code"] == code[0].tobytes().hex()
    assert answer["hits"] == wanted(index, code, top=7)


def test_codes_of_images_asked_together_are_those_of_each(services, folder, encoder):
    client = made(services, folder, Limits())
    files = [(folder / f"{row:02}.png").read_bytes() for row in range(24) if row != 7]
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(
            lambda file: client.post("/search/image", files={"file": file}).json()["code"], files
        ))  # fmt: skip
    codes = encoder.encode([Image.open(io.BytesIO(file)) for file in files])
    assert answers == [code.tobytes().hex() for code in codes]


def test_an_answer_says_why_it_is_short(client, index):
    def note(**asked):
        return client.post("/search/id", params=asked, json={"id": "words"}).json()["note"]

    assert note(top=50) == "" and note(radius=0) == ""
    assert "top 50" in note(radius=16)
    assert "there may be more" in note(radius=16, top=2)


def test_top_above_the_size_gives_all(services, folder, index):
    client = made(services, folder, Limits())
    answer = client.post("/search/id", params={"top": 1000}, json={"id": "words"}).json()
    assert len(answer["hits"]) == len(index) and "61 items in all" in answer["note"]


def test_documents_are_asked_with_text(folder):
    uri = folder / "documents"
    create_index(uri, Manifest(8, "d" * 64))
    with open_index(uri, write=True) as index:
        index.add([Item("1", b"\xe0", text="abc"), Item("2", b"\x01", text="h")])
        service = Service("documents", index, Words(), "words")
        service.warm()
        client = made({"documents": service}, folder)
        answer = client.post("/search/text", json={"text": "cab"}).json()
        assert [(hit["distance"], hit["text"]) for hit in answer["hits"]] == [(0, "abc"), (4, "h")]
        files = {"file": QUERY.read_bytes()}
        assert "documents" in refused(client.post("/search/image", files=files), 400)
        other = made({"other": Service("other", index, load_encoder(MODEL), "other")}, folder)
        assert "16 bits" in refused(other.post("/search/image", files=files), 503)


@pytest.mark.parametrize("content, status, part", [
    (b"", 400, "empty"),
    (b"no image", 400, "not an image"),
    (QUERY.read_bytes()[:60], 400, "cannot be"),
    (png(1001, 1000), 413, "too large"),
    (png(60_000, 60_000), 413, "too large"),
    (png(2**31 - 1, 2**31 - 1), 413, "too large"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "not an image"),
    (bytes(2**20), 413, "1,048,576 bytes"),
    (bytes(100 * 2**20), 413, "1,048,576 bytes"),
], ids="nothing text cut pixels bomb greatest script bytes 100MB".split())  # fmt: skip
def test_images_that_are_refused(client, content, status, part):
    assert part in refused(client.post("/search/image", files={"file": content}), status)
    assert client.post("/search/id", json={"id": "words"}).status_code == 200


@pytest.mark.parametrize("path, options, status, part", [
    ("id", {"json": {"id": "none"}}, 404, "'none'"),
    ("id", {"json": {"id": "../../etc/passwd"}}, 404, "passwd"),
    ("id", {"json": {"id": "/etc/passwd"}}, 404, "passwd"),
    ("id", {"json": {"id": "a\x00b\n"}}, 404, "no item"),
    ("id", {"content": rb'{"id": "\ud800"}', "headers": JSON}, 422, "id"),
    ("id", {"json": {"id": "x" * 2000}}, 422, "1024"),
    ("id", {"json": {"id": 3}}, 422, "string"),
    ("id", {"json": {"id": "words", "top": 3}}, 422, "top"),
    ("id", {"content": rb'{"id": "words", "\ud800": 3}', "headers": JSON}, 422, "refused"),
    ("id", {"content": b"{", "headers": JSON}, 422, "JSON"),
    ("id", {"content": b"[" * 100_000, "headers": JSON}, 4, "."),
    ("id", {"content": b"\xff", "headers": JSON}, 4, "."),
    ("id", {"content": b"{}"}, 422, "refused"),
    ("id", {"json": {"id": "words"}, "params": {"top": 51}}, 422, "50"),
    ("id", {"json": {"id": "words"}, "params": {"top": 0}}, 422, "top"),
    ("id", {"json": {"id": "words"}, "params": {"top": "9" * 5000}}, 422, "top"),
    ("id", {"json": {"id": "words"}, "params": {"radius": -1}}, 422, "radius"),
    ("id", {"json": {"id": "words"}, "params": {"unique": "x"}}, 422, "unique"),
    ("id", {"json": {"id": "words"}, "params": {"label": ["x"] * 300}}, 422, "label"),
    ("id", {"json": {"id": "words"}, "params": {"tops": 3}}, 422, "tops"),
    ("id", {"json": {"id": "words"}, "params": {"index": "../x"}}, 404, "digits, codes"),
    ("code", {"json": {"code": "00"}}, 400, "16 bits"),
    ("code", {"json": {"code": ""}}, 400, "16 bits"),
    ("code", {"json": {"code": "xyzw"}}, 400, "16 bits"),
    ("text", {"json": {"text": "words"}}, 400, "images"),
    ("text", {"json": {"text": "words"}, "params": {"index": "codes"}}, 400, "--model"),
    ("image", {"files": {"file": b"x"}, "params": {"index": "codes"}}, 400, "--model"),
    ("image", {"data": {"file": "a.png"}}, 422, "file"),
    ("image", {"files": {"picture": b"x"}}, 422, "file"),
    ("image", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "."),
    ("several", {"json": {"queries": []}}, 422, "queries"),
    ("several", {"json": {"queries": [{"id": "words"}] * 17}}, 422, "16"),
    ("several", {"json": {"queries": [{"weight": 2}]}}, 422, "one of image"),
    ("several", {"json": {"queries": [{"id": "words", "code": "0000"}]}}, 422, "one of image"),
    ("several", {"json": {"queries": [{"id": "words", "weight": 1e6}]}}, 422, "weight"),
    ("several", {"content": b'{"queries": [{"id": "words", "weight": NaN}]}', "headers": JSON},
     422, "weight"),
    ("several", {"json": {"queries": [{"id": "words"}, {"id": "none"}]}}, 404, "'none'"),
    ("several", {"json": {"queries": [{"image": "a"}]}}, 422, "image"),
    ("several", {"json": {"queries": [{"image": "aaaa"}]}}, 400, "not an image"),
    ("none", {"json": {}}, 404, "Not Found"),
])  # fmt: skip
def test_requests_that_are_refused(client, path, options, status, part):
    response = client.post(f"/search/{path}", **options)
    status = response.status_code if response.status_code // 100 == status else status
    assert part in refused(response, status)
    assert client.post("/search/id", json={"id": "words"}).status_code == 200


def test_other_methods_and_paths_are_refused(client):
    assert "Allowed" in refused(client.get("/search/id"), 405)
    for path in ("/none", "/../../etc/passwd", "/page.js/../../app.py", "/%2e%2e/app.py"):
        refused(client.get(path), 404)


def test_thumbnails_are_of_items_alone_and_made_once(client, folder, monkeypatch):
    def get(**params):
        headers = {"if-none-match": params.pop("tag", "")}
        return client.get("/thumbnail", params=params, headers=headers)

    first = get(id="0/00.png")
    assert first.headers["content-type"] == "image/jpeg"
    image = Image.open(io.BytesIO(first.content)).convert("L")
    assert image.size == (8, 8) and np.abs(np.asarray(image) - PIXELS[0].astype(int)).mean() < 6
    files = [path for path in (folder / "thumbnails").rglob("*") if path.is_file()]
    assert len(files) == 1 and re.fullmatch(r"[0-9a-f]{64}\.jpg", files[0].name)
    monkeypatch.setattr("dsh_jax.search.server.thumbnails._make", None)
    assert get(id="0/00.png", index="codes").content == first.content
    again = get(id="0/00.png", tag=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    monkeypatch.undo()
    for name in ("none", "../../etc/passwd", str(folder / "00.png"), "00.png", ""):
        assert "no item" in refused(get(id=name), 404)
    assert "no picture" in refused(get(id="words"), 404)
    assert "no such file" in refused(get(id="7/07.png"), 404)
    refused(get(id="0/00.png", index=".."), 404)
    refused(get(), 422)


def test_large_images_become_small(folder):
    path = folder / "large.jpg"
    Image.new("RGB", (900, 500), "red").save(path)
    made = Thumbnails(folder / "file").jpeg(Item("a", b"", str(path)))
    assert Image.open(io.BytesIO(made)).size == (192, 192)
    (folder / "file2").write_text("in the way")
    assert Thumbnails(folder / "file2").jpeg(Item("a", b"", str(path))) == made


def test_a_token_is_needed_where_there_is_one(services, folder):
    client = made(services, folder, token="secret")
    for given in ("", "secret", "Bearer", "Bearer wrong", "Bearer secret ü"):
        headers = {"authorization": given.encode()}
        response = client.post("/search/id", json={"id": "words"}, headers=headers)
        assert "token" in refused(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/indexes", "/metrics", "/thumbnail?id=words", "/none"):
        refused(client.get(path), 401)
    for path in ("/", "/page.js", "/page.css", "/health", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    good = {"authorization": "Bearer secret"}
    assert client.get("/indexes", headers=good).status_code == 200


def test_a_name_of_elsewhere_is_refused(client):
    """A page elsewhere may make its own name mean 127.0.0.1; the browser then sends that name."""
    for host in ("evil.example", "localhost.evil.example:8000", ""):
        refused(client.get("/indexes", headers={"host": host}), 421)
    for host in ("localhost", "LOCALHOST:1"):
        assert client.get("/health", headers={"host": host}).status_code == 200


def test_health_and_metrics_and_description(client, services):
    assert client.get("/health").json() == {"status": "ok", "items": {"digits": 61, "codes": 61}}
    counts = np.bincount(DIGITS.target[:60])
    [served, other] = client.get("/indexes").json()
    assert (served["kind"], other["kind"], served["labels"]["3"]) == ("images", "", counts[3])
    client.get("/none")
    text = client.get("/metrics").text
    assert 'dsh_jax_items{index="digits"} 61.0' in text
    assert 'dsh_jax_requests_total{path="other",status="404"}' in text
    assert re.search(r'dsh_jax_request_seconds_count\{path="/health"\} [1-9]', text)
    assert "dsh_jax_requests_in_hand 0.0" in text and "process_resident_memory_bytes" in text
    description = client.get("/openapi.json").json()
    assert {*description["paths"]} == {
        "/search/image", "/search/text", "/search/id", "/search/code", "/search/several",
        "/indexes", "/thumbnail", "/health", "/metrics",
    }  # fmt: skip
    assert "top" in {each["name"] for each in
                     description["paths"]["/search/id"]["post"]["parameters"]}  # fmt: skip
    assert "swagger" in client.get("/docs").text


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    named = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert {*named} == {"page.css", "page.js", "docs", "data:,"}
    script = client.get("/page.js").text
    assert "innerHTML" not in script and "://" not in script
    assert client.get("/", params={"content": "x", "page": "x"}).text == page.text
    assert all(f'id="{name}"' in page.text for name in re.findall(r'\$\("(\w+)"\)', script))


def test_too_many_at_once_and_too_long(services, folder, monkeypatch):
    client = made(services, folder, Limits(seconds=1, concurrency=2))
    busy, free = threading.Semaphore(0), threading.Event()

    def slow(*_, **__):
        busy.release()
        free.wait(20)
        return []

    monkeypatch.setattr(services["digits"], "search", slow)
    answers = []

    def ask():
        answers.append(client.post("/search/id", json={"id": "words"}))

    waiting = [threading.Thread(target=ask) for _ in range(2)]
    for thread in waiting:
        thread.start()
    busy.acquire(timeout=20)
    response = None
    for _ in range(50):  # until the second one is in hand too
        response = client.get("/indexes")
        if response.status_code == 503 and "too many" in response.text:
            break
        time.sleep(0.01)
    assert "too many" in refused(response, 503) and response.headers["retry-after"] == "1"
    assert client.get("/health").status_code == 200
    for thread in waiting:
        thread.join()
    assert all("1 seconds" in refused(answer, 503) for answer in answers)
    free.set()
    monkeypatch.undo()
    assert client.post("/search/id", json={"id": "words"}).status_code == 200


@pytest.mark.parametrize("message, status", [
    ({"type": "http.request", "body": b"{", "more_body": True}, 503),
    ({"type": "http.disconnect"}, None),
])  # fmt: skip
def test_a_body_that_never_ends_or_whose_sender_goes(services, folder, message, status):
    app = made(services, folder, Limits(seconds=0.2)).app
    sent, waiting = [], [message]

    async def receive():
        return waiting.pop() if waiting else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/search/id", "query_string": b"",
             "headers": [], "http_version": "1.1", "root_path": ""}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert [each["status"] for each in sent if "status" in each] == [status] * bool(status)


def test_what_fails_inside_is_a_sentence(services, folder, monkeypatch, caplog):
    client = made(services, folder)

    def fail(error):
        def search(*_, **__):
            raise error

        monkeypatch.setattr(services["digits"], "search", search)
        return client.post("/search/id", json={"id": "words"})

    assert "gone" in refused(fail(UserError("the server is gone: start it.")), 503)
    assert "gone" in caplog.text
    assert "secret" not in refused(fail(RuntimeError("secret")), 500)
    monkeypatch.undo()
    assert client.post("/search/id", json={"id": "words"}).status_code == 200


def test_it_sees_what_others_write(services, folder, uri, client):
    with open_index(uri, write=True) as writer:
        writer.add([Item("new", b"\xab\xcd")])
        found = client.post("/search/code", json={"code": "abcd"}, params={"top": 1}).json()
        assert found["hits"][0]["id"] == "new"
        writer.delete(["new"])
    refused(client.post("/search/id", json={"id": "new"}), 404)


@pytest.mark.parametrize("options, part", [
    (["--index", "{folder}/none"], "none"),
    (["--index", "{uri}", "--model", "{folder}/none"], "none"),
    (["--index", "{uri}", "--model", str(MODEL), "--model", str(MODEL)], "--model"),
    (["--index", "{uri}", "--token-file", "{folder}/none"], "none"),
    (["--index", "{uri}", "--token-file", "{folder}/empty"], "no token"),
    (["--index", "{uri}", "--port", "70000"], "'70000'"),
    (["--index", "{uri}", "--host", "256.0.0.1"], "256.0.0.1"),
    (["--index", "{uri}", "--max-top", "0"], "'0'"),
    ([], "--index"),
])  # fmt: skip
def test_mistakes_are_one_sentence(uri, folder, options, part):
    (folder / "empty").touch()
    filled = [option.format(uri=uri, folder=folder) for option in options]
    with pytest.raises(UserError) as caught:
        serve("--port", "0", *filled)
    assert part in sentence(str(caught.value))


def test_the_command_itself(uri, folder, tmp_path):
    """Two indexes on a real socket; a large upload is refused in words; Ctrl-C ends it."""
    create_index(folder / "other/digits.index", Manifest(8))
    server = subprocess.Popen(
        [sys.executable, "search.py", "serve", "--index", uri, "--index",
         folder / "other/digits.index", "--port", "0", "--thumbnails", tmp_path, "--max-upload",
         "1000000"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = server.stdout.readline()
        [address] = re.findall(r"at (http://127\.0\.0\.1:\d+)/", line) or [server.stderr.read()]
        served = json.load(urllib.request.urlopen(f"{address}/indexes", timeout=30))
        assert [each["name"] for each in served] == ["digits.index", "digits.index-2"]
        large = urllib.request.Request(f"{address}/search/image", bytes(30_000_000))
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(large, timeout=30)
        assert caught.value.code == 413 and "1,000,000" in caught.value.read().decode()
        with pytest.raises(UserError) as taken:
            serve("--index", uri, "--port", address.rpartition(":")[2])
        assert "--port" in sentence(str(taken.value))
        assert urllib.request.urlopen(f"{address}/health", timeout=30).status == 200
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0 and server.stderr.read() == ""
    finally:
        server.kill()
        server.communicate()


def serve(*options):
    parsed = arguments.parse(["serve", *map(str, options)])
    return command.VERBS[parsed.verb](parsed)
