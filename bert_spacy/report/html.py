"""Small pieces of HTML; all text that comes from data is escaped here."""

import re
from collections.abc import Sequence
from html import escape

from spacy import displacy

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif;
  color: #222; background: #fff; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
h2, h1 { border-bottom: 1px solid #d8d8d8; padding-bottom: .3rem; }
table { border-collapse: collapse; margin: .8rem 0; }
th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #e4e4e4;
  vertical-align: top; }
th { background: #f4f4f2; font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.note { color: #666; } .wide { overflow-x: auto; }
.example { border: 1px solid #e4e4e4; border-radius: 6px; padding: .4rem .9rem; margin: .8rem 0; }
.example p { margin: .3rem 0; overflow-wrap: anywhere; } .side { color: #666; font-size: .85rem; }
svg text { font: 12px system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; }
nav a { margin-right: 1rem; }
"""
BEFORE, LENGTH = 160, 640

Cell = str | int | float | None


def page(title: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Join sections to one page that needs no other file.

    title (str): Title of the page.
    sections (Sequence[tuple[str, str, str]]): Id, heading and markup of each.
    RETURNS (str): The HTML document.
    """
    links = "".join(
        f'<a href="#{escape(name)}">{escape(heading)}</a>' for name, heading, _ in sections
    )
    body = "".join(
        f'<section id="{escape(name)}"><h2>{escape(heading)}</h2>{markup}</section>\n'
        for name, heading, markup in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><nav>{links}</nav>\n{body}</body></html>\n"
    )


def plain_name(name: str) -> str:
    """Return a component's name as a part of ids and of names of files."""
    return re.sub(r"[^\w-]", "_", name)


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Make a table; floats are shares and shown in percent, None as a dash."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def note(text: str) -> str:
    """Make a remark."""
    return f'<p class="note">{escape(text)}</p>'


def example(head: str, blocks: Sequence[tuple[str, str]]) -> str:
    """Make a box for one text.

    head (str): One line of plain text.
    blocks (Sequence[tuple[str, str]]): Plain caption and markup of each part.
    """
    parts = "".join(
        (f'<p class="side">{escape(caption)}</p>' if caption else "") + markup
        for caption, markup in blocks
    )
    return f'<div class="example"><p><strong>{escape(head)}</strong></p>{parts}</div>'


def paragraph(text: str) -> str:
    """Show the beginning of a text."""
    return f"<p>{escape(text[:LENGTH])}{'…' if len(text) > LENGTH else ''}</p>"


def highlight(text: str, places: Sequence[tuple[int, int, str]], focus: int = 0) -> str:
    """Show a text with marked places, cut to the part around one of them.

    text (str): The text.
    places (Sequence[tuple[int, int, str]]): First character, end (exclusive)
        and label of each.
    focus (int): A character that must be shown.
    RETURNS (str): displaCy's markup of the part.
    """
    start = max(0, focus - BEFORE)
    end = min(len(text), start + LENGTH)
    part = ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
    shift = start - 1 if start else 0
    ents = [
        {"start": max(a, start) - shift, "end": min(b, end) - shift, "label": escape(label)}
        for a, b, label in sorted(places)
        if a < end and b > start
    ]
    shown = {"text": part, "ents": ents, "title": None}
    return displacy.render(shown, style="ent", manual=True, page=False, jupyter=False)


def _cell(value: Cell) -> str:
    if value is None:
        return '<td class="number">–</td>'
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    shown = f"{100 * value:.2f}" if isinstance(value, float) else str(value)
    return f'<td class="number">{shown}</td>'
