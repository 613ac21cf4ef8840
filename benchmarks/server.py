"""Load on a warm server: `python -m benchmarks.server --index URI --image FILE`.

Starts `search.py serve`, and lets several clients on this machine ask with an image, each again as
soon as it has its answer. Prints the latencies, the failures, and the server's time on the CPU and
memory. The same requests to `/health` show what HTTP alone takes beside as many clients. The
clients prepare their request once, because they share the cores with the server.
"""

import argparse
import http.client
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.results import write_result


def resident_mib(pid: int) -> float:
    """Resident memory of a process, in MiB, from Linux' /proc."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line
    )
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """Time that a process has had on the CPU, from Linux' /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def form(image: bytes) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of an upload."""
    boundary = "8b1f6a0c"
    head = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="query.png"'
            "\r\nContent-Type: image/png\r\n\r\n")  # fmt: skip
    body = head.encode() + image + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def load(
    pid: int, port: int, path: str, image: bytes | None, *, clients: int, seconds: float
) -> dict[str, Any]:
    """Latencies in milliseconds of clients that ask without a pause, and the server's CPU time."""
    body, headers = form(image) if image else (None, {})
    before = cpu_seconds(pid)
    until = time.monotonic() + seconds
    latencies: list[float] = []
    failed: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < until:
            began = time.perf_counter()
            try:
                connection.request("POST" if body else "GET", path, body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failed.append(answer.status)
            except OSError:
                failed.append(0)
                connection.close()  # the next request opens it again
            latencies.append(1000 * (time.perf_counter() - began))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(latencies, [50, 99])
    return {"clients": clients, "requests": len(latencies), "failed": len(failed),
            "per_second": len(latencies) / seconds, "p50_ms": p50, "p99_ms": p99,
            "cpu_ms": 1000 * (cpu_seconds(pid) - before) / len(latencies)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--index", required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--note", default="", help="kept in the result")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "search.py", "serve", f"--index={options.index}",
         f"--port={options.port}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )  # fmt: skip
    assert server.stdout is not None
    server.stdout.readline()  # it is written when the server listens
    asked = partial(load, server.pid, options.port)
    search, image, clients = "/search/image?top=10", options.image.read_bytes(), options.clients
    try:
        asked(search, image, clients=clients, seconds=5)  # warm
        before = resident_mib(server.pid)
        found = {
            "search by image": asked(search, image, clients=clients, seconds=options.seconds),
            "search by image, alone": asked(search, image, clients=1, seconds=options.seconds / 6),
            "HTTP without a search": asked(
                "/health", None, clients=clients, seconds=options.seconds / 6
            ),
        }
        memory = {"before_mib": before, "after_mib": resident_mib(server.pid)}
    finally:
        server.terminate()
        server.wait()
    size = "{} x {}".format(*Image.open(options.image).size)
    figures = {
        f"{title}, {numbers['clients']} clients, {numbers['per_second']:,.0f} requests/s": (
            f"median {numbers['p50_ms']:.1f} ms, 99th percentile {numbers['p99_ms']:.1f} ms; "
            f"{numbers['failed']} of {numbers['requests']:,} failed; "
            f"{numbers['cpu_ms']:.1f} ms of the server's CPU time each"
        )
        for title, numbers in found.items()
    }
    figures["resident memory, before and after"] = (
        f"{memory['before_mib']:.0f} MiB, {memory['after_mib']:.0f} MiB"
    )
    for name, text in figures.items():
        print(f"{name}: {text}")
    title = f"Server, an image of {size} as the query, clients on the same cores"
    write_result(options.result, title, figures, note=options.note)


if __name__ == "__main__":
    main()
