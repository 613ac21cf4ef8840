"""`search.py serve`: an HTTP API and a page for one index or several."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dsh_jax.errors import UserError
from dsh_jax.files import user_cache
from dsh_jax.search import models

if TYPE_CHECKING:
    from dsh_jax.search.server.service import Service

_HERE = {"localhost", "127.0.0.1", "[::1]"}
_MOST_CONNECTIONS = 500  # a process may have 1,024 files open, in most places


def serve(options: argparse.Namespace) -> int:
    """Answers requests until it is stopped."""
    try:
        import uvicorn

        from dsh_jax.search.server.app import create_app
    except ModuleNotFoundError as error:
        raise UserError(
            f"serve needs {error.name}, which is not installed: pip install '.[server]'."
        ) from error
    from dsh_jax.search.server.limits import Limits
    from dsh_jax.search.server.thumbnails import Thumbnails

    token = _token(options.token_file)
    is_here = options.host in _HERE | {"::1"}
    limits = Limits(
        options.max_upload, options.max_pixels, options.max_top, options.timeout,
        options.concurrency,
    )  # fmt: skip
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(_listen(options.host, options.port))
        services = _services(options, opened)
        app = create_app(
            services, Thumbnails(options.thumbnails or user_cache() / "thumbnails"), limits=limits,
            token=token, hosts=_HERE if is_here and not token else (),
        )  # fmt: skip
        server = uvicorn.Server(uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS, timeout_graceful_shutdown=int(options.timeout) + 1,
        ))  # fmt: skip
        if not is_here and not token:
            print("without --token-file, everyone who can reach this machine can search",
                  file=sys.stderr)  # fmt: skip
        names = " and ".join(services)
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"serving {names} at http://{host}:{listening.getsockname()[1]}/; Ctrl-C stops it",
              flush=True)  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    return 0


def _token(file: Path | None) -> str:
    if file is None:
        token, name = os.environ.get("DSH_JAX_TOKEN", ""), "DSH_JAX_TOKEN"
        if not token:
            return ""
    else:
        name = str(file)
        try:
            token = file.expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UserError(
                f"{file} cannot be read ({reason}): write a token into it."
            ) from error
    if not token or not all("!" <= letter <= "~" for letter in token):
        raise UserError(f"{name} has no token: write one of ASCII letters and digits into it.")
    return token


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {host} port {port} ({reason}): choose another --port or --host."
        ) from error


def _services(options: argparse.Namespace, opened: contextlib.ExitStack) -> dict[str, Service]:
    from dsh_jax.search.index import open_index
    from dsh_jax.search.server.service import Service

    named = options.model or []
    if len(named) > len(options.index):
        raise UserError("there are more --model than --index: name at most one for each.")
    services: dict[str, Service] = {}
    for number, uri in enumerate(options.index):
        index = opened.enter_context(open_index(uri))
        model = named[number] if number < len(named) else index.manifest.model
        encoder = models.load(model) if model else None
        if encoder:
            index.require(
                num_bits=encoder.num_bits, fingerprint=encoder.fingerprint, model=str(model)
            )
        name = base = uri.rstrip("/").rpartition("/")[2]
        while name in services:
            name = f"{base}-{number + 1}"
            number += 1
        services[name] = Service(name, index, encoder, str(model))
        services[name].warm()
    return services
