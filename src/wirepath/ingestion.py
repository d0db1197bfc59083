"""The public ingestion API: configuration in, records in a ring out.

::

    config = wp.IngestionConfig(backend="socket", host="239.1.1.1", port=9001)
    ring, stats = wp.RingBuffer(), wp.IngestionStats()
    with wp.IngestionClient(config) as client:
        client.start_ingestion(ring, stats)
        for records in client.batches():               # ndarrays of dtype wirepath.RECORD
            print(len(records), records["price"][0])
    print(stats.summary())
"""

from __future__ import annotations

from ._core import Ring
from .config import IngestionConfig
from .errors import ConfigError
from .feed.channel import make_channel, make_stage
from .feed.itch50 import midnight_ns
from .intake import Intake, RingBuffer
from .settings import problem
from .stats import IngestionStats

__all__ = ["IngestionClient", "IngestionConfig", "IngestionStats", "RingBuffer"]


class IngestionClient(Intake):
    """Takes a MoldUDP64/ITCH 5.0 feed from a port into a ring, on a worker thread of its own.

    ``initialize()`` checks the configuration against this machine, ``connect()`` opens the port,
    ``start_ingestion(ring, stats)`` starts the worker. ``with`` does the first two, and stops and
    closes at its end. A call out of order raises :class:`~wirepath.errors.StateError`.
    """

    def __init__(self, config: IngestionConfig) -> None:
        if not isinstance(config, IngestionConfig):
            raise ConfigError(
                problem(
                    "config", config, "an IngestionConfig (IngestionConfig.from_toml reads one)"
                )
            )
        super().__init__(config)
        self.config = config

    def connect(self) -> None:
        """Open the port: bind, join the group, attach. Raises as :func:`wirepath.open`."""
        self._connect([("", self.config.flow)])

    def start_ingestion(self, ring: Ring, stats: IngestionStats | None = None) -> None:
        """Start the worker; returns at once. ``ring`` gets the records, ``stats`` the numbers.

        After :meth:`stop_ingestion` it may be started again, with new ``stats``.
        """
        self._check_start(ring, stats)
        config = self.config
        try:
            channel = make_channel(
                "itch",
                name="itch",
                lines=[config.flow],
                channel=config.channel,
                midnight_ns=midnight_ns(config.session_date) if config.session_date else 0,
                # One line has nothing to wait for: what comes late is flagged.
                arbiter={
                    "in_order": False,
                    "session": config.session.ljust(10).encode("ascii") if config.session else b"",
                    "pin_session": bool(config.session),
                    "next_sequence": config.next_sequence,
                },
            )
            name, latency = config.port_spec, config.live_timestamps
            self._launch(make_stage(ring, [channel], name=name, latency=latency), ring, stats)
        except BaseException:
            self._undo_start(ring)
            raise
