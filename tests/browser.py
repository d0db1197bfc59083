"""What a headless Chromium makes of a page."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest


def chromium() -> str:
    """The browser; the test is skipped where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("unsupported: this machine has no Chromium (apt install chromium)")


def opened(page: Path, folder: Path, *arguments: str) -> str:
    """The document after its scripts have run; without a network, whatever the page asks for."""
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += [f"--user-data-dir={folder / 'profile'}", "--disable-dev-shm-usage"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking"]
    command += [*arguments, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Elements(HTMLParser):
    """Start tags with their attributes, in order, and the text in each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))
        self.texts.append("")

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data

    @property
    def said(self) -> set[str]:
        """Every piece of text."""
        return {text.strip() for text in self.texts}

    def having(self, name, **wanted):
        """(attributes, text) of those that have the attribute."""
        return [
            (attributes, text.strip())
            for (_, attributes), text in zip(self.all, self.texts, strict=True)
            if name in attributes and all(attributes.get(k) == v for k, v in wanted.items())
        ]
