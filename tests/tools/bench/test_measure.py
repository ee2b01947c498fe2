from __future__ import annotations

import re
import sys

import pytest

from hamdg.tools.bench.measure import measured


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_largest_anonymous_memory_is_seen() -> None:
    small = measured(python("import time; time.sleep(0.1)"))
    large = measured(python("import time; x = bytearray(80_000_000); time.sleep(0.1)"))
    assert large.anonymous - small.anonymous == pytest.approx(80e6, rel=0.1)
    assert small.wall > 0.1
    assert small.core is None


def test_mapped_files_do_not_count(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("mapped") / "file"
    path.write_bytes(bytes(80_000_000))
    code = (
        f"import mmap, time; f = open({str(path)!r}); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); sum(m[::4096])"
    )
    assert measured(python(f"{code}; time.sleep(0.1)")).anonymous < 40e6


def test_the_last_line_tells_what_the_work_took() -> None:
    assert measured(python("print('noise'); print('{\"core\": 0.25}')")).core == 0.25


def test_variables_reach_the_command() -> None:
    code = "import os; print('{\"core\": ' + os.environ['ANSWER'] + '}')"
    assert measured(python(code), {"ANSWER": "42"}).core == 42.0


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(RuntimeError, match=re.escape("failed: it broke")):
        measured(python("import sys; sys.exit('it broke')"))
