"""``wirepath metrics``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from prometheus_client.registry import Collector

from .. import logs
from ..series import chosen
from . import output
from .options import Pids


def metrics(
    pids: Pids = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Serve them to Prometheus at this address; without it they are printed once.",
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="IFACE", help="Also of the filter on this interface."),
    ] = None,
    routers: Annotated[
        list[str] | None,
        typer.Option(
            "--router", metavar="IFACE", help="Also of the router that has this interface."
        ),
    ] = None,
) -> None:
    """Counters and latency histograms of wirepath processes as OpenMetrics text.

    Example:  [bold]wirepath metrics --listen 127.0.0.1:9464[/bold]
    """
    from .. import metrics as exporter  # noqa: PLC0415 -- an HTTP server, for this command only

    named = chosen(pids or ()) if pids else None
    more: list[Collector] = []
    if filters:
        from ..filter.collector import FilterCollector  # noqa: PLC0415
        from ..filter.control import Filter  # noqa: PLC0415

        more.append(FilterCollector({name: Filter.adopt(name) for name in filters}))
    if routers:
        from ..route.published import collector  # noqa: PLC0415

        more.append(collector(routers))
    if listen is None:
        sys.stdout.write(exporter.text(named, more))
        return
    server, thread = exporter.serve(listen, named, more)
    logs.emit("metrics.listening", address=listen)
    output.stderr.print(f"http://{listen}/metrics  (Ctrl-C ends it)", markup=False)
    try:
        thread.join()
    except KeyboardInterrupt:
        return
    finally:
        server.shutdown()
        server.server_close()
