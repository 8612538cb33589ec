"""The database of an archive: rows stay as they are, and what is damaged or from elsewhere is refused in one line."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.archives import seen, write
from helpers.damaged import damaged
from lad_reasoner.errors import InputError, LadError, MachineError
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.archived import Opinion


@pytest.mark.parametrize("table", ["inspections", "feedback", "versions", "audit"])
def test_rows_stay_as_they_are(archive: Archive, tmp_path: Path, table: str) -> None:
    archive.keep([seen()])
    archive.review(1, Opinion.GOOD, who="Ada")
    archive.version("file", who="Ada", why="start")
    with sqlite3.connect(tmp_path / "archive.sqlite3") as database:
        for statement in (f"UPDATE {table} SET at = ''", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="stay as they are"):
                database.execute(statement)
    database.close()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Archive(tmp_path, "bottle").close()
    with sqlite3.connect(tmp_path / "archive.sqlite3") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(InputError, match="newer version"):
        Archive(tmp_path, "bottle")


def test_a_database_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "archive.sqlite3").write_bytes(b"nonsense " * 1000)
    with pytest.raises(MachineError, match=r"archive.sqlite3: file is not a database"):
        Archive(tmp_path, "bottle")


@pytest.mark.parametrize(
    "strange",
    [
        "CREATE VIEW mine AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT x FROM n",
        "CREATE TRIGGER mine AFTER INSERT ON inspections BEGIN DELETE FROM pictures; END",
    ],
)
def test_views_and_triggers_of_strangers_are_refused(tmp_path: Path, strange: str) -> None:
    Archive(tmp_path / "bottle", "bottle").close()
    Archive(tmp_path / "bottle", "bottle").close()  # its own are none
    write(tmp_path / "bottle", strange)
    with pytest.raises(InputError, match=r"archive\.sqlite3: holds mine, which no archive writes"):
        Archive(tmp_path / "bottle", "bottle")


def test_a_damaged_name_is_one_clear_line(tmp_path: Path, whole: Path) -> None:
    damaged_name = whole.read_bytes().replace(b"triggerversions_delete", b"trigger\nersions_delete")
    (tmp_path / "archive.sqlite3").write_bytes(damaged_name)
    with pytest.raises(MachineError) as raised:
        Archive(tmp_path, "bottle")
    assert "malformed database schema" in str(raised.value) and "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file, not its content: Hypothesis warns of large arguments where it shows what failed, before it draws."""
    archive = Archive(tmp_path_factory.mktemp("whole"), "bottle")
    for number in range(5):
        archive.keep([seen(str(number))])
    archive.review(1, Opinion.GOOD, who="Ada")
    archive.close()
    return archive.folder / "archive.sqlite3"


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_database_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, whole: Path, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "archive.sqlite3").write_bytes(data.draw(damaged(whole.read_bytes())))
    errors: list[str] = []
    try:
        archive = Archive(folder, "bottle")
    except LadError as error:
        errors.append(str(error))
    else:
        for ask in (archive.history, archive.audit, archive.counts, archive.broken_audit, lambda: archive.content(2)):
            try:
                ask()
            except LadError as error:
                errors.append(str(error))
        try:
            assert [inspection.part for inspection in archive.keep([seen("new")])] == ["new"]
        except LadError as error:
            errors.append(str(error))
        finally:
            archive.close()
    # Whatever is damaged, the message is one line.
    assert all(error and "\n" not in error for error in errors)
