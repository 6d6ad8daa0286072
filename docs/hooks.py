"""Pages of the site that are written from the code: every command with its options."""

from __future__ import annotations

from typing import Any

from typer import Context
from typer.cli import get_docs_for_click
from typer.main import get_command

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with the commands in place of their mark."""
    return markdown.replace(MARK, commands()) if MARK in markdown else markdown


def commands() -> str:
    """Markdown of every command of `hcdc`, each with a heading of its own."""
    from hcdc.cli.app import app

    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=Context(command), name="hcdc")
    return text[text.index("## ") :]
