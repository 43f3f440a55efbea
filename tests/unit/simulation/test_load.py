"""Load tables: what is read, and the one line that is said of each mistake."""

import sys
from pathlib import Path

import pytest

from scheduler.simulation.load import LoadError, read_load

UUIDS = {"web": "u1", "db": "u2"}
HEADER = "time_s,vm,cpu_demand_cores\n"


def written(tmp_path: Path, text: str, name: str = "load.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_rows_become_changes_in_order_of_time_and_the_last_lasts_one_step(tmp_path: Path):
    table = read_load(written(tmp_path, HEADER + "60,web,2\n0,web,1\n0,db,0.5\n"), UUIDS)
    assert table.changes == (
        (0.0, (("u1", 1.0, None, None), ("u2", 0.5, None, None))),
        (60.0, (("u1", 2.0, None, None),)),
    )
    assert table.end_s == 120.0


def test_optional_columns_may_stand_anywhere_and_be_empty(tmp_path: Path):
    text = "vm,dirty_mib_per_s,time_s,memory_used_mib,cpu_demand_cores\nweb,3,0,,1\ndb,,0,512,1\n"
    [(_, wanted)] = read_load(written(tmp_path, text), UUIDS).changes
    assert wanted == (("u1", 1.0, None, 3.0), ("u2", 1.0, 512.0, None))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: time_s is missing, allowed are time_s, vm, cpu_demand_cores"),
        ("time_s,vm\n", "line 1: cpu_demand_cores is missing"),
        ("time_s,vm,cpu\n", "line 1: 'cpu' is no column of a load table"),
        ("time_s,vm,vm\n", "line 1: 'vm' comes twice"),
        (HEADER, "has no rows"),
        (HEADER + "0,web\n", "line 2: has 2 columns, allowed are the 3 of the header"),
        (
            HEADER + "0,web,1\n0,mail,1\n",
            "line 3: vm: 'mail' is not one running VM of the snapshot, allowed are db, web",
        ),
        (HEADER + "0,web,much\n", "line 2: cpu_demand_cores: 'much' is no number from 0 to 1,000,000,000,000"),
        (HEADER + "-1,web,1\n", "line 2: time_s: '-1' is no number from 0 to 31,622,400"),
        (HEADER + "0,web,nan\n", "line 2: cpu_demand_cores: 'nan' is no number from 0 to 1,000,000,000,000"),
        (HEADER + "0,web,1\n0,web,2\n", "line 3: vm: 'web' has a row for 0 s already"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(tmp_path: Path, text: str, said: str):
    path = written(tmp_path, text)
    with pytest.raises(LoadError) as refused:
        read_load(path, UUIDS)
    assert str(refused.value).startswith(f"{path}: {said}")
    assert "\n" not in str(refused.value)


def test_parquet_without_its_library_is_refused_and_csv_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LoadError, match=r"needs pyarrow: pip install 'virt-scheduler\[parquet\]', or use CSV"):
        read_load(written(tmp_path, "PAR1", "load.parquet"), UUIDS)


def test_parquet_gives_the_same_table_and_its_mistakes_are_one_line(tmp_path: Path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "load.parquet"
    columns = {"time_s": [0, 60], "vm": ["web", "db"], "cpu_demand_cores": [1.0, 2.5], "memory_used_mib": [None, 512.0]}
    parquet.write_table(pyarrow.table(columns), path)
    assert read_load(path, UUIDS).changes == ((0.0, (("u1", 1.0, None, None),)), (60.0, (("u2", 2.5, 512.0, None),)))
    with pytest.raises(LoadError, match="is no Parquet"):
        read_load(written(tmp_path, "no such thing", "bad.parquet"), UUIDS)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(LoadError, match="No such file"):
        read_load(tmp_path / "none.csv", UUIDS)
