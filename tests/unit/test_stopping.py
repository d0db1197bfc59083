# SPDX-License-Identifier: Apache-2.0
"""A signal ends a feed in good order, whenever it comes."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager

import pytest

from wirepath import cli
from wirepath.cli import feed, feed_channels
from wirepath.cli.exits import Exit
from wirepath.cli.stopping import stop_asked


@contextmanager
def a_signal_first(title, *, quiet):
    """In the place of the live table: a signal before the consumer is there to wait for it."""
    os.kill(os.getpid(), signal.SIGTERM)
    yield None


@pytest.mark.parametrize("channels", [1, 2])
def test_a_signal_before_the_first_record_is_taken_loses_no_report(
    channels, tmp_path, flow, monkeypatch, capsys
):
    module = feed if channels == 1 else feed_channels
    monkeypatch.setattr(module, "live", a_signal_first)
    if channels == 1:
        words = ["socket:lo", f"{flow[0]}:{flow[1]}"]
    else:
        config = tmp_path / "feed.toml"
        config.write_text(
            '[feed]\nbackend = "socket"\ninterface_name = "lo"\n'
            + "".join(
                f'[[channel]]\nname = "{name}"\nprotocol = "itch"\n'
                f'line = [{{ group = "{flow[0]}", port = {flow[1] + at} }}]\n'
                for at, name in enumerate(("one", "two"))
            )
        )
        words = ["--config", str(config)]
    assert cli.main(["feed", *words, "--json"]) == Exit.INTERRUPTED
    told = json.loads(capsys.readouterr().out)
    assert told["interrupted"] is True
    assert told["messages"] == told["consumed"] == 0


def test_one_signal_is_asked_for_and_a_second_is_an_exception():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with stop_asked() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_asked() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop()
    finally:
        signal.signal(signal.SIGINT, before)
