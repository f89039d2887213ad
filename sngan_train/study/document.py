"""A report as a list of blocks, written as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { border: 1px solid #ccc; padding: .25rem .6rem; text-align: left }
th { background: #f3f3f3 } img { max-width: 100%; height: auto } figure { margin: 1rem 0 } figcaption { color: #555 }
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Heading:
    """A line above what follows; level 1 is the title."""

    level: int
    text: str

    def markdown(self) -> str:
        """One line."""
        return f"{'#' * self.level} {self.text}"

    def html(self, folder: Path) -> str:
        """An hN element."""
        return f"<h{self.level}>{html.escape(self.text)}</h{self.level}>"


@dataclasses.dataclass(frozen=True, slots=True)
class Paragraph:
    """Words."""

    text: str

    def markdown(self) -> str:
        """As it is."""
        return self.text

    def html(self, folder: Path) -> str:
        """A p element."""
        return f"<p>{html.escape(self.text)}</p>"


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; every row is as long as `header`."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """A pipe table; a pipe within a cell is escaped."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

        return "\n".join([line(self.header), "|" + "---|" * len(self.header), *map(line, self.rows)])

    def html(self, folder: Path) -> str:
        """A table element."""

        def row(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row(cells, "td") for cells in self.rows)
        return f"<table><thead>{row(self.header, 'th')}</thead><tbody>{body}</tbody></table>"


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """A PNG beside the report: a path relative to it."""

    path: str
    caption: str

    def markdown(self) -> str:
        """A reference."""
        return f"![{self.caption}]({self.path})"

    def html(self, folder: Path) -> str:
        """The picture itself, within the page."""
        data = base64.b64encode((folder / self.path).read_bytes()).decode()
        caption = html.escape(self.caption)
        return (
            f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )


Block = Heading | Paragraph | Table | Picture


def as_markdown(blocks: Sequence[Block]) -> str:
    """The whole text."""
    return "\n\n".join(block.markdown() for block in blocks) + "\n"


def as_html(blocks: Sequence[Block], folder: Path, title: str) -> str:
    """One page without scripts or references to elsewhere; pictures are read from `folder`."""
    body = "\n".join(block.html(folder) for block in blocks)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
