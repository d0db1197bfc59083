# SPDX-License-Identifier: Apache-2.0
"""Every event that wirepath logs: its name, its fields, and when it happens.

Names and fields are an interface: they are added to, not changed. What raises as well is a warning
at most, for it has been told; an error is what nobody else tells.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event. level: as :mod:`logging` has them. fields: all of them are there in every
    event of the kind, None where nothing is known."""

    level: int
    fields: tuple[str, ...]
    when: str


def _kind(level: int, fields: str, when: str) -> Kind:
    return Kind(level, tuple(fields.split()), when)


EVENTS: dict[str, Kind] = {
    # Commands
    "command.ended": _kind(INFO, "command exit_code seconds error", "a command is over"),
    "traces.unavailable": _kind(
        WARNING, "reason", "OTEL_* variables ask for traces that cannot be exported"
    ),
    "metrics.listening": _kind(INFO, "address", "metrics are served over HTTP"),
    "report.written": _kind(INFO, "files", "a report was written"),
    # Ports and workers
    "port.opened": _kind(
        INFO,
        "spec backend device driver mode queues timestamp_source",
        "a port is open, as read back from kernel or device",
    ),
    "port.open_failed": _kind(WARNING, "spec error", "a port could not be opened; it raises too"),
    "port.mode_fallback": _kind(
        WARNING, "spec wanted mode", "a port runs in a slower mode than was preferred"
    ),
    "port.closed": _kind(INFO, "spec rx_packets tx_packets drops", "a port was closed"),
    "worker.started": _kind(INFO, "worker cpu_core queues", "a worker polls"),
    "worker.stopped": _kind(INFO, "worker frames drops", "a worker was joined"),
    "worker.failed": _kind(WARNING, "worker error", "an error stopped a worker; joining raises it"),
    # Feeds
    "feed.started": _kind(INFO, "feed channels", "an ingestion began"),
    "feed.stopped": _kind(INFO, "feed packets messages missing", "an ingestion ended"),
    "feed.gap": _kind(WARNING, "channel first last unit", "messages are missing on every line"),
    "feed.recovered": _kind(INFO, "channel messages", "messages came by retransmission"),
    "feed.gap_abandoned": _kind(
        WARNING, "channel first last unit reason", "messages are given up, and lost"
    ),
    "feed.reset": _kind(WARNING, "channel next_sequence", "a venue began its sequence anew"),
    "feed.session_changed": _kind(INFO, "channel before after", "another session began"),
    "feed.session_ended": _kind(INFO, "channel last unit", "a session said that it is over"),
    "feed.events_missed": _kind(
        WARNING, "channel kind events", "more happened between two looks than can be told"
    ),
    "feed.state_failed": _kind(ERROR, "file error", "the state file could not be written"),
    "feed.callback_failed": _kind(ERROR, "channel error", "on_event raised; the feed goes on"),
    "recovery.server_failed": _kind(
        WARNING, "channel server error", "a server of recovery does not do what it should"
    ),
    "recovery.server_answers": _kind(INFO, "channel server", "it does again"),
    "recovery.control_failed": _kind(ERROR, "error", "the control thread failed; it goes on"),
    # Sinks
    "sink.opened": _kind(INFO, "sink policy", "a sink takes records"),
    "sink.failed": _kind(ERROR, "sink during error", "a sink raised; it goes on"),
    "sink.dropped": _kind(
        WARNING, "sink policy dropped conflated", "a sink lost records since the event before"
    ),
    "sink.disconnected": _kind(ERROR, "sink refused", "a sink was too slow and gets no more"),
    "sink.stuck": _kind(ERROR, "sink seconds queued", "a sink did not end in time"),
    "sink.closed": _kind(INFO, "sink written dropped conflated", "a sink ended"),
    # Tuning
    "tune.changed": _kind(INFO, "setting before wanted now", "a setting was changed, read back"),
    "tune.refused": _kind(WARNING, "setting result error", "a setting is not as wanted"),
    "tune.applied": _kind(INFO, "interface profile journal ok changed", "a plan was carried out"),
    "tune.value_restored": _kind(INFO, "setting before tuned now result", "one value of a restore"),
    "tune.restored": _kind(INFO, "journal ok rebooted values", "a tuning was put back"),
    # Labs
    "lab.made": _kind(INFO, "lab hosts queues", "namespaces and links are there"),
    "lab.removed": _kind(INFO, "lab", "they are gone"),
    # Measuring
    "bench.started": _kind(INFO, "kind port shape repeats", "a measurement began"),
    "bench.repeated": _kind(
        INFO, "port repeat planned received p50_ns p99_ns", "one repeat of it is done"
    ),
    "bench.ended": _kind(INFO, "port planned received p50_ns p99_ns", "a measurement is done"),
    "bench.compared": _kind(INFO, "a b answer", "two results were put side by side"),
    # Conversion, publishing, doctor
    "convert.started": _kind(INFO, "captures out to", "a conversion began"),
    "convert.failed": _kind(WARNING, "capture error", "a capture could not be converted"),
    "convert.ended": _kind(INFO, "captures failed rows", "a conversion is done"),
    "publish.started": _kind(INFO, "via lines", "a publisher sends"),
    "publish.ended": _kind(INFO, "via packets messages", "a publisher is done"),
    "doctor.examined": _kind(INFO, "interfaces worst findings", "a machine was examined"),
}
