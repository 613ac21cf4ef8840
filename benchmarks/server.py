"""Load on a warm server: `python -m benchmarks.server --index URI --image FILE`.

Starts `search.py serve`, and lets several clients on this machine ask with an image, each again as
soon as it has its answer. Prints the latencies, the failures and the server's memory. The same
requests to `/health` show what HTTP alone takes beside as many clients.
"""

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from dsh_jax.files import write_json
from dsh_jax.training.workdir import command_line, describe_run


def resident_mib(pid: int) -> float:
    """Resident memory of a process, in MiB, from Linux' /proc."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line
    )
    return int(line.split()[1]) / 1024


def load(url: str, image: bytes | None, *, clients: int, seconds: float) -> dict[str, Any]:
    """Latencies in milliseconds of clients that ask without a pause."""
    until = time.monotonic() + seconds
    latencies: list[float] = []
    failed: list[int] = []

    def ask() -> None:
        with requests.Session() as session:
            while time.monotonic() < until:
                began = time.perf_counter()
                files = {"file": ("query.png", image)} if image else None
                answer = session.post(url, files=files) if files else session.get(url)
                latencies.append(1000 * (time.perf_counter() - began))
                if answer.status_code != 200:
                    failed.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(latencies, [50, 99])
    return {"clients": clients, "requests": len(latencies), "failed": len(failed),
            "per_second": len(latencies) / seconds, "p50_ms": p50, "p99_ms": p99}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--index", required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    image, address = options.image.read_bytes(), f"http://127.0.0.1:{options.port}"
    server = subprocess.Popen(
        [sys.executable, "search.py", "serve", f"--index={options.index}",
         f"--port={options.port}"], stderr=subprocess.DEVNULL
    )  # fmt: skip
    try:
        for _ in range(600):
            try:
                requests.get(f"{address}/health", timeout=60)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        search = f"{address}/search/image?top=10"
        load(search, image, clients=options.clients, seconds=5)  # warm
        before = resident_mib(server.pid)
        found = {
            "search by image": load(search, image, clients=options.clients,
                                    seconds=options.seconds),
            "search by image, alone": load(search, image, clients=1, seconds=options.seconds / 6),
            "HTTP without a search": load(f"{address}/health", None, clients=options.clients,
                           seconds=options.seconds / 6),
        }  # fmt: skip
        memory = {"before_mib": before, "after_mib": resident_mib(server.pid)}
    finally:
        server.terminate()
        server.wait()
    size = "{} x {}".format(*Image.open(options.image).size)
    figures = {
        f"{title}, {numbers['clients']} clients, {numbers['per_second']:,.0f} requests/s": (
            f"median {numbers['p50_ms']:.1f} ms, 99th percentile {numbers['p99_ms']:.1f} ms; "
            f"{numbers['failed']} of {numbers['requests']:,} failed"
        )
        for title, numbers in found.items()
    }
    figures["resident memory, before and after"] = (
        f"{memory['before_mib']:.0f} MiB, {memory['after_mib']:.0f} MiB"
    )
    for name, text in figures.items():
        print(f"{name}: {text}")
    if options.result:
        title = f"Server, an image of {size} as the query, clients on the same cores"
        run = describe_run(command_line(), [])
        write_json(options.result, {"title": title, "figures": figures, "run": run})


if __name__ == "__main__":
    main()
