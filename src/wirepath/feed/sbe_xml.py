"""The XML of a message schema as a tree of elements that know where they stand.

Schemas come from venues' web sites and mail attachments, so the reader takes no document type
(and with it no entities, which is how a few lines of XML become gigabytes), opens nothing but
files beside the schema, and ends at stated sizes. Expat is what `xml.etree` is made of; it is
used directly because it tells the line of an element.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from ..errors import ConfigError

MAX_BYTES = 16 << 20
MAX_ELEMENTS = 200_000
MAX_DEPTH = 32
MAX_TEXT = 64 << 10  # of one element
MAX_FILES = 32

_XINCLUDE = "http://www.w3.org/2001/XInclude include"


@dataclass
class Element:
    """One element: name without its namespace, attributes, text, children."""

    tag: str
    attributes: dict[str, str]
    file: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def __str__(self) -> str:
        name = self.attributes.get("name")
        return f'<{self.tag} name="{name}">' if name is not None else f"<{self.tag}>"

    def get(self, name: str, default: str | None = None) -> str | None:
        """An attribute, spaces around it removed."""
        value = self.attributes.get(name)
        return default if value is None else value.strip()

    def fail(self, what: str, mend: str) -> NoReturn:
        """Raises: file, line and element, what is wrong, and what would be right."""
        raise ConfigError(f"{self.file}:{self.line}: {self}: {what}; {mend}")


class _Reader:
    """Files into one tree; ``folder`` is where included files may be (None: nowhere)."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._bytes = 0
        self._elements = 0
        self._files = 0

    def read(self, data: bytes, file: str, around: int = 0) -> Element:
        self._files += 1
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise ConfigError(f"{file}: more than {MAX_BYTES >> 20} MiB; this is no message schema")
        if self._files > MAX_FILES:
            raise ConfigError(f"{file}: more than {MAX_FILES} files include each other")
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        stack: list[Element] = []
        roots: list[Element] = []

        def refuse(*_: object) -> NoReturn:
            raise ConfigError(
                f"{file}:{parser.CurrentLineNumber}: a document type or entity is declared; "
                "message schemas need none: remove <!DOCTYPE …>"
            )

        def start(name: str, attributes: dict[str, str]) -> None:
            self._elements += 1
            if self._elements > MAX_ELEMENTS or len(stack) + around >= MAX_DEPTH:
                raise ConfigError(
                    f"{file}:{parser.CurrentLineNumber}: more than {MAX_ELEMENTS} elements, or "
                    f"{MAX_DEPTH} inside each other; this is no message schema"
                )
            plain = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
            element = Element(name.rpartition(" ")[2], plain, file, parser.CurrentLineNumber)
            if name == _XINCLUDE:
                element = self._include(element, around + len(stack))
            if stack:
                stack[-1].children.append(element)
            else:
                roots.append(element)
            stack.append(element)

        def end(_: str) -> None:
            stack.pop()

        def text(data: str) -> None:
            element = stack[-1]
            element.text += data
            if len(element.text) > MAX_TEXT:
                element.fail("its text is too long", f"at most {MAX_TEXT >> 10} KiB are read")

        parser.StartDoctypeDeclHandler = refuse
        parser.EntityDeclHandler = refuse
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            message = expat.errors.messages.get(error.code, str(error))
            raise ConfigError(
                f"{file}:{error.lineno}: not well-formed XML ({message}); is this the schema?"
            ) from None
        except (LookupError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{file}: its text cannot be decoded ({error})") from None
        return roots[0]

    def _include(self, element: Element, around: int) -> Element:
        href = element.get("href") or ""
        if self._folder is None:
            element.fail("it includes a file", "load the schema from a file")
        path = (self._folder / href).resolve()
        if not path.is_relative_to(self._folder.resolve()) or not path.is_file():
            element.fail(f'"{href}" is not a file beside the schema', "put it there")
        return self.read(_bytes_of(path), str(path), around)


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:  # never more than can be used, whatever is at the path
        return file.read(MAX_BYTES + 1)


def read_file(path: Path) -> Element:
    """The root element of a file. Raises ConfigError for what it cannot take, OSError."""
    return _Reader(path.parent).read(_bytes_of(path), str(path))


def read_text(text: str | bytes, name: str = "<schema>") -> Element:
    """The root element of XML in memory, which may include nothing."""
    data = text.encode() if isinstance(text, str) else text
    return _Reader(None).read(data, name)
