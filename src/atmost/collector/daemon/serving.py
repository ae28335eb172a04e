"""Puts page, API and exporter of a daemon together. Requires the extra `server`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atmost.collector.config.addresses import parse_place
from atmost.collector.daemon.http import HttpServer, bind_http

if TYPE_CHECKING:
    from atmost.collector.daemon.daemon import CollectorDaemon


def make_http(daemon: CollectorDaemon, address: str, token: str) -> HttpServer:
    """The server of a daemon, listening and not yet answering.

    Raises:
        BindError: the port is taken or refused.
    """
    from atmost.collector.api.app import CollectorApp
    from atmost.collector.api.exporter import Exporter
    from atmost.collector.api.views import Views

    place = parse_place(address, "http", path=False)
    assert place is not None
    views, options = Views(daemon.state, daemon.now), daemon.options
    counts: list[HttpServer] = []
    exporter = Exporter(views, lambda: counts[0].counts | {"defects": daemon.defects})
    app = CollectorApp(views, ready=daemon.ready, host=place.host, max_streams=options.max_streams, exporter=exporter)
    app.gate.change(token, options.http_hosts)
    server = HttpServer(app, bind_http(place), options.max_connections, local=place.loopback)
    counts.append(server)
    return server
