"""The page in a real browser; left out where there is no Chromium or no Playwright."""

import shutil
import threading
import time

import numpy as np
import pytest
import uvicorn
from PIL import Image

from dsh_jax import load_encoder
from dsh_jax.search.index import create_index, open_index
from dsh_jax.search.items import Item
from dsh_jax.search.manifest import Manifest
from dsh_jax.search.server.app import create_app
from dsh_jax.search.server.limits import Limits
from dsh_jax.search.server.service import Service
from dsh_jax.search.server.thumbnails import Thumbnails
from tests.commands import ROOT

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
MODEL = ROOT / "examples/digits_16bit.safetensors"
QUERY = ROOT / "examples/digits/3a.png"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server with a token and three items: the query, a neighbour at 2 bits, and one far away."""
    folder = tmp_path_factory.mktemp("page")
    encoder = load_encoder(MODEL)
    [code] = encoder.encode(str(QUERY))
    codes = {"same": code, "near": code ^ np.array([1, 1], np.uint8), "<b>far</b>": ~code}
    for number in range(3):
        Image.new("L", (9, 9), 80 * number).save(folder / f"{number}.png")
    create_index(folder / "index", Manifest(16, encoder.fingerprint, "m"))
    with open_index(folder / "index", write=True) as index:
        index.add([
            Item(name, code.tobytes(), str(folder / f"{number}.png"), labels=(f"label {number}",))
            for number, (name, code) in enumerate(codes.items())
        ])  # fmt: skip
        services = {name: Service(name, index, encoder, "m") for name in ("one", "two")}
        app = create_app(services, Thumbnails(folder / "small"), limits=Limits(), token="secret")
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        server.should_exit = True
        thread.join()


def test_a_visit(address):
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.fill("#token", "secret")
        page.click("#access button")
        page.wait_for_selector("#drop:visible")
        page.uncheck("#compare")

        def hits(count):
            playwright.expect(page.locator(".hit")).to_have_count(count)
            return page.locator(".hit b").all_inner_texts()

        page.set_input_files("#file", QUERY)
        assert hits(3) == ["0 bits", "2 bits", "16 bits"]
        assert page.locator("main b").count() == 3  # the id with a tag in it is text
        picture = page.locator(".hit img").first
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 9
        page.locator("#radius").fill("2")
        assert hits(2) == ["0 bits", "2 bits"]
        page.select_option("#label", "label 1")
        assert hits(1) == ["2 bits"]
        page.locator(".hit").click()
        playwright.expect(page.locator("#status")).to_have_text("Nearest to id near: 1 item")
        assert page.url.endswith("#id=near") and hits(1) == ["0 bits"]
        page.check("#compare")
        assert hits(2) == ["0 bits", "0 bits"]
        page.fill("#text", "../../etc/passwd")
        page.click("#words button")
        playwright.expect(page.locator("#status.wrong")).to_contain_text("no item")
        browser.close()
    assert not wrong
