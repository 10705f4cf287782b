import pytest

from dept_vl.config import BadConfig, load_experiment, parse_experiment
from dept_vl.plans.settings import BadPlan, read
from dept_vl.untrusted.yaml_text import MOST_BYTES, NotYaml, parse_yaml
from tests.fuzz.bounds import within

LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))


def test_a_document_is_read_as_yaml_reads_it():
    assert parse_yaml("a: [1, 2.5, x, null]\nb: &it {c: true}\nd: *it") == {
        "a": [1, 2.5, "x", None], "b": {"c": True}, "d": {"c": True}
    }  # fmt: skip
    assert parse_yaml(b"") is None and parse_yaml("\u00e9") == "\u00e9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "aliases that stand for more than 100,000 values"),
        (MERGES, "aliases that stand for more than 100,000 values"),
        ("&a [*a]", "aliases that stand for more than 100,000 values"),
        ("x" * (MOST_BYTES + 1), "131,073 bytes of it, more than 131,072"),
        ("[" * 5000, "something nested too deeply"),
        ("{a: [", "something else .while parsing a flow "),
        ("2026-13-45", "something else .month must be in 1..12"),
        ("1" * 5000, "something else .Exceeds the limit"),
        (b"\xff", "something else .*codec can't decode"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("{[1]: 2}", "found unhashable key"),
        ("a: 1\n---\nb: 2", "expected a single document"),
    ],
    ids=[
        "laughs", "merges", "itself", "long", "deep", "cut", "day", "number", "bytes", "object", "key", "two documents",
    ],
)  # fmt: skip
def test_whatever_is_no_fair_yaml_is_one_error(text, message):
    with within(), pytest.raises(NotYaml, match=message):
        parse_yaml(text)


@pytest.mark.parametrize("bomb", [LAUGHS, MERGES], ids=["lists", "merges"])
def test_every_reader_of_yaml_refuses_a_bomb_by_its_file(tmp_path, capsys, bomb):
    path = tmp_path / "bomb.yaml"
    path.write_text(bomb)
    readers = ((read, BadPlan), (load_experiment, BadConfig))
    for reader, error in readers:
        with within(), pytest.raises(error, match="bomb.yaml: wanted .*aliases that stand for more than"):
            reader(path)
    with within(), pytest.raises(SystemExit):
        parse_experiment(["--config", str(path)], description="", defaults=[])
    assert "bomb.yaml: wanted YAML, given aliases that stand for more than" in capsys.readouterr().err
