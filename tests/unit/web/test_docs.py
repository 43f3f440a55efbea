"""The reference tables in docs/ are made from the code; `UPDATE_DOCS=1 pytest` writes them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from scheduler.web.catalogue import CATALOGUE
from scheduler.web.routes import ROUTES

DOCS = Path(__file__).parents[3] / "docs"
BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->"

PLAIN = {web.StreamResponse: "server-sent events", dict: "OpenAPI 3.1"}


def metrics_table() -> Iterator[str]:
    yield "| Metric | Type | Labels | Meaning |"
    yield "|---|---|---|---|"
    for family in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.name}` | {family.kind} | {labels} | {family.help} |"


def routes_table() -> Iterator[str]:
    yield "| Call | Asks for | Answers | Role | What it does |"
    yield "|---|---|---|---|---|"
    for route in ROUTES:
        query = [f"`?{name}`" for name in route.query.model_fields] if route.query else []
        body = [f"`{name}`" for name in route.body.model_fields] if route.body else []
        answer = f"{route.status} {PLAIN.get(route.answer, route.answer.__name__)}"
        yield (
            f"| `{route.method} {route.path}` | {', '.join(query + body)} | {answer} | {route.role.value} "
            f"| {route.summary} |"
        )


@pytest.mark.parametrize(("page", "table"), [("metrics.md", metrics_table), ("api.md", routes_table)])
def test_reference_table_is_in_step(page, table) -> None:
    path = DOCS / page
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    expected = before + BEGIN + "\n".join(table()) + "\n" + END + after
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(expected)
    assert path.read_text() == expected, "run UPDATE_DOCS=1 pytest tests/unit/web/test_docs.py"
