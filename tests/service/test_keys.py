"""API keys: the file gives none away, and says what is wrong with it."""

import os
import stat
from pathlib import Path

import pytest

from lad_reasoner.errors import InputError
from lad_reasoner.files.whole import lock
from lad_reasoner.service.keys import Holder, Keys, add_key


def test_a_key_opens_and_its_file_does_not_hold_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    first, second = add_key(file, 'line "3" ≠ 🙂', "operator"), add_key(file, "Ada", "engineer")
    keys = Keys.read(file)
    assert keys.find(first) == Holder(name='line "3" ≠ 🙂', role="operator")
    assert keys.find(second) == Holder(name="Ada", role="engineer")
    assert keys.find("") is None and keys.find(first[:-1]) is None and keys.find("lad_\udcff") is None
    assert first not in file.read_text() and second not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_changed_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys.toml"
    first = add_key(file, "Ada", "operator")
    keys, alone = Keys.read(file), file.read_text()
    second = add_key(file, "Bo", "engineer")
    assert keys.find(first) and keys.find(second)
    both = file.read_text()
    for broken in ("nonsense", ""):  # an editor is at work
        file.write_text(broken)
        assert keys.find(second) and keys.find(second)
    file.unlink()
    assert keys.find(second)
    assert [line.rpartition("; ")[2] for line in caplog.messages] == ["the keys that were read before stay valid"] * 3
    file.write_text(both.replace(alone, ""))
    assert keys.find(first) is None and keys.find(second)


@pytest.mark.posix
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root gives files away")
def test_a_file_stays_with_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    add_key(file, "Ada", "operator")
    os.chown(file, 12345, 12346)
    add_key(file, "Bo", "operator")
    status = file.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 12346, 0o600)


def test_a_name_has_one_key(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.toml", "Ada", "operator")
    with pytest.raises(InputError, match="Ada has a key"):
        add_key(tmp_path / "keys.toml", "Ada", "engineer")


def test_while_one_key_is_added_no_other_is(tmp_path: Path) -> None:
    with lock(tmp_path / "keys.toml", "--key-file"), pytest.raises(InputError, match="another process is using it"):
        add_key(tmp_path / "keys.toml", "Ada", "operator")
    assert not (tmp_path / "keys.toml").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense", "not valid TOML"),
        ("x = " + "[" * 100_000, "not valid TOML"),
        ("x = " + "1" * 5000, "not valid TOML"),
        ("", "keys: Field required"),
        ("keys = []", "keys: .* at least 1 item"),
        ('[[keys]]\nname = "a"\nrole = "boss"\nsha256 = "' + "0" * 64 + '"', "keys.0.role: "),
        ('[[keys]]\nname = "a"\nrole = "operator"\nsha256 = "secret"', "keys.0.sha256: "),
        ('[[keys]]\nname = "a"\nrole = "operator"\nkey = "secret"', "keys.0"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(InputError, match=rf"^--key-file .*keys.toml: {problem}"):
        Keys.read(tmp_path / "keys.toml")


def test_an_absent_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lad-reasoner key"):
        Keys.read(tmp_path / "keys.toml")
