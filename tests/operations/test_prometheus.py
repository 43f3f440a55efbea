"""Rules, alerts and dashboard, judged by the real Prometheus on a scrape in which everything has happened."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import start_http_server

from scheduler.operations.records import MigrationState
from scheduler.web.catalogue import CATALOGUE, Kind
from tests.operations.prometheus_server import CONFIG, JOB, PROMETHEUS, WHY_NOT, PrometheusServer, scraping
from tests.unit.web.memory import MemoryControl, migration_record
from tests.unit.web.observed import busy_metrics

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason=WHY_NOT)

ROOT = CONFIG.parent
CASES = sorted((Path(__file__).with_name("prometheus")).glob("*.test.yml"))
DASHBOARD = CONFIG / "grafana" / "dashboard.json"
VARIABLES = {"$job": JOB, "$host": ".*", "$window": "1h", "$__rate_interval": "1m"}
"""What Grafana puts in their place, or could."""
NOTHING_YET = {"virt_scheduler_config_last_reload_success_timestamp_seconds"}
"""Of which the scrape has nothing to tell: the expression shows changes only."""
SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.COUNTER: ("",), Kind.GAUGE: ("",)}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """It has scraped twice, with something happening in between, and evaluated its rules on that."""
    metrics = busy_metrics(MemoryControl())
    http, thread = start_http_server(0, "127.0.0.1", metrics.registry)
    try:
        with scraping(f"127.0.0.1:{http.server_port}", tmp_path_factory.mktemp("prometheus")) as server:
            _until(lambda: server.query("virt_scheduler_leader"))
            busy_metrics(MemoryControl(), metrics)
            metrics.migration_ended(migration_record(state=MigrationState.FAILED))
            _until(lambda: (server.value('virt_scheduler_migrations_total{outcome="failed"}') or 0) > 0)
            _until(lambda: server.query("job:virt_scheduler_migrations_mispredicted:ratio1d"))
            yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _until(look: Any) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def expressions() -> list[str]:
    """What the dashboard asks, as Grafana would send it."""
    asked = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    asked += [one["expr"] for one in dashboard()["annotations"]["list"] if "expr" in one]
    for name, value in VARIABLES.items():
        asked = [expression.replace(name, value) for expression in asked]
    return asked


def series_of(text: str) -> set[str]:
    """All names of this project's series in it, recorded ones too."""
    return set(re.findall(r"\b(?:job:)?virt_scheduler_\w+(?::\w+)?", text))


def known_series(server: PrometheusServer) -> set[str]:
    """What there can be: the catalogue's, and what is recorded."""
    names = {family.name + suffix for family in CATALOGUE for suffix in SUFFIXES[family.kind]}
    return names | {rule["name"] for rule in server.rules() if rule["type"] == "recording"}


def test_every_expression_of_the_dashboard_finds_something(prometheus: PrometheusServer) -> None:
    asked = expressions()
    assert len(asked) > 30
    assert not [one for one in asked if "$" in one]
    empty = [one for one in asked if not prometheus.query(one) and not series_of(one) <= NOTHING_YET]
    assert empty == []


def test_dashboard_and_rules_name_only_series_that_exist(prometheus: PrometheusServer) -> None:
    known = known_series(prometheus)
    asked = [*expressions(), *(json.dumps(one) for one in dashboard()["templating"]["list"])]
    asked += [rule["query"] for rule in prometheus.rules()]
    assert {name for text in asked for name in series_of(text)} - known == set()
    example = re.findall(r"```promql\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL)
    assert series_of("".join(example)) - known == set()


def test_every_panel_stands_in_its_place_and_says_what_it_shows() -> None:
    panels, taken = dashboard()["panels"], set()
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["targets"]


def test_rules_are_evaluated_without_error(prometheus: PrometheusServer) -> None:
    _until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
    assert {rule["name"] for rule in prometheus.rules() if rule.get("lastError")} == set()


def test_promtool_finds_each_alert_to_fire_and_to_end_as_it_should() -> None:
    promtool = str(shutil.which("promtool"))
    checked = subprocess.run(
        [promtool, "check", "rules", *map(str, sorted((CONFIG / "prometheus").glob("*.yml")))],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = subprocess.run(
        [promtool, "test", "rules", *map(str, CASES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_has_a_case_that_fires_one_that_does_not_and_a_runbook(prometheus: PrometheusServer) -> None:
    cases = "".join(path.read_text() for path in CASES)
    silences = re.findall(r'alertname=~?"([^"]+)"[^\n]*exp_samples: \[\]', cases)
    alerts = [rule for rule in prometheus.rules() if rule["type"] == "alerting"]
    assert len(alerts) > 10
    for alert in alerts:
        name, notes = alert["name"], alert["annotations"]
        assert f'ALERTS{{alertname="{name}", alertstate="firing"' in cases, name
        assert any(re.fullmatch(silent, name) for silent in silences), name
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert notes["summary"], name
        assert notes["description"], name
        page, _, place = notes["runbook"].partition("#")
        assert place in anchors(ROOT / page), name


def anchors(page: Path) -> set[str]:
    """The places in a page that a link can name, as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
