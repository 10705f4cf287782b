import gzip
import json

import pytest

from dept_vl.data.text_sources import load_text
from dept_vl.tasks.mrqa import MRQA
from dept_vl.tasks.text_task import BadRow
from tests.tasks.text_rows import split_sizes

TASKS = {task.name: task for task in MRQA}
NEWSQA = TASKS["newsqa"]
HEADER = {"header": {"dataset": "NewsQA", "split": "dev"}}
PASSAGE = {
    "id": "",
    "context": "The ferry Aurora left at dawn, with 40 people on board.",
    "context_tokens": [["The", 0]],
    "qas": [
        {
            "qid": "7f1c",
            "question": "When did it leave?",
            "answers": ["dawn,", "at dawn"],
            "question_tokens": [["When", 0]],
            "detected_answers": [{"text": "dawn", "char_spans": [[25, 28]], "token_spans": [[5, 5]]}],
        },
        {"qid": "7f1d", "question": "Who was on board?", "answers": ["40 people"], "detected_answers": []},
    ],
}
ROW = {
    "id": "validation-0",
    "context": PASSAGE["context"],
    "question": "When did it leave?",
    "answers": ["dawn,", "at dawn"],
    "key": "7f1c",
    "labels": [{"start": [25], "end": [28]}],
}


def unfolded(*records):
    return [row for record in records for row in NEWSQA.source.unfold(record)]


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def test_a_header_gives_nothing_a_passage_its_questions_and_a_row_of_the_hub_itself():
    first, second, third = unfolded(HEADER, PASSAGE, ROW)
    assert first == {name: ROW[name] for name in ("key", "context", "question", "answers")}
    assert second["key"] == "7f1d" and second["context"] == PASSAGE["context"] and second["answers"] == ["40 people"]
    assert third is ROW


def test_a_record_of_another_set_is_an_error():
    with pytest.raises(BadRow, match="wanted a header, a passage with 'qas' or a row .* given a record with sentence"):
        unfolded({"sentence": "It rains."})


def test_as_published_reads_padded_text_and_knows_the_first_answer_only():
    example = NEWSQA.read(ROW)
    context = "The ferry Aurora left at dawn , with 40 people on board ."
    assert example.source == f"question: When did it leave ? context: {context}"
    assert example.source[slice(*example.context)] == context
    assert example.targets == example.references == ("dawn ,",)


def test_official_dev_reads_the_text_as_it_stands_and_knows_all_answers():
    example = NEWSQA.under("official_dev").read(ROW)
    assert example.source == f"question: {ROW['question']} context: {ROW['context']}"
    assert example.targets == ("dawn,",) and example.references == ("dawn,", "at dawn")


def test_a_later_gold_answer_counts_under_official_dev_only():
    official = NEWSQA.under("official_dev")
    for task, match, f1 in ((NEWSQA, 0.0, 2 / 3), (official, 1.0, 1.0)):
        result = task.score({ROW["id"]: "at dawn"}, [task.read(ROW)])
        assert (result["exact_match"], result["f1"]) == pytest.approx((match, f1))
        assert result["protocol"] == task.protocol and result["invalid_outputs"] == 0


def test_padding_makes_two_words_of_an_abbreviation():
    row = {**ROW, "answers": ["U.S."]}
    for prediction, published, official in (("U.S.", 0.0, 1.0), ("U . S .", 1.0, 0.0)):
        for task, wanted in ((NEWSQA, published), (NEWSQA.under("official_dev"), official)):
            assert task.score({ROW["id"]: prediction}, [task.read(row)])["exact_match"] == wanted


def test_a_row_without_answers_gives_no_example():
    assert NEWSQA.read({**ROW, "answers": []}) is None
    assert NEWSQA.under("official_dev").read({**ROW, "answers": [" "]}) is None


@pytest.mark.parametrize("protocol", ["as_published", "official_dev"])
@pytest.mark.parametrize("field", ["question", "context", "answers"])
def test_a_missing_field_is_named(protocol, field):
    row = {name: value for name, value in ROW.items() if name != field}
    with pytest.raises(BadRow, match=f"newsqa: row 'validation-0': wanted the field '{field}', given id, "):
        NEWSQA.under(protocol).read(row)


@pytest.mark.parametrize(
    "path", ["dev/NewsQA.jsonl", "dev/NewsQA.jsonl.gz", "mrqa/dev/NewsQA.jsonl", "NewsQA/dev.jsonl"]
)
def test_official_files_are_found_in_either_layout(tmp_path, path):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    written = lines([HEADER, PASSAGE])
    file.write_bytes(gzip.compress(written) if file.suffix == ".gz" else written)
    loaded = load_text(tmp_path, "test", NEWSQA)
    assert [example.targets for example in loaded.examples] == [("dawn ,",), ("40 people",)]
    assert [example.id for example in loaded.examples] == ["validation-0", "validation-1"]


def test_the_four_sets_lie_in_files_of_their_own(tmp_path):
    (tmp_path / "dev").mkdir()
    names = {"nq": "NaturalQuestionsShort", "hotpotqa": "HotpotQA", "searchqa": "SearchQA", "newsqa": "NewsQA"}
    for task, name in names.items():
        question = {"qid": "1", "question": f"{task}?", "answers": [task]}
        (tmp_path / "dev" / f"{name}.jsonl").write_bytes(lines([HEADER, {"context": "x", "qas": [question]}]))
    assert list(TASKS) == list(names)
    for name, task in TASKS.items():
        assert load_text(tmp_path, "test", task).examples[0].targets == (name,)


def test_whole_sets_split_into_the_published_sizes():
    table = {
        "nq": (103_071, 1_000, 12_836),
        "hotpotqa": (71_928, 1_000, 5_901),
        "searchqa": (116_384, 1_000, 16_980),
        "newsqa": (73_160, 1_000, 4_212),
    }  # DePT, Table 9
    for name, task in TASKS.items():
        for protocol in task.protocols:
            splits = task.under(protocol).splits
            assert splits.sizes == table[name] == split_sizes(splits, task.source.whole)


def test_f1_is_reported():
    assert {(task.headline, *task.selecting) for task in MRQA} == {("f1", "f1", "exact_match")}


def test_the_shared_tasks_own_newsqa_sample_is_read_and_scored(real, tmp_path):
    sample = real / "superglue_glue" / "mrqa" / "NewsQA_sample.jsonl"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "NewsQA.jsonl").write_bytes(sample.read_bytes())
    questions = [asked for line in sample.read_text().splitlines() for asked in json.loads(line).get("qas", ())]
    for protocol in NEWSQA.protocols:
        task = NEWSQA.under(protocol)
        examples = load_text(tmp_path, "test", task).examples
        assert len(examples) == len(questions) == 17
        assert len({example.source[slice(*example.context)] for example in examples}) == 3
        result = task.score({example.id: example.references[-1] for example in examples}, examples)
        assert result["exact_match"] == result["f1"] == 1.0
    assert [example.references for example in examples] == [
        tuple(answer.strip() for answer in asked["answers"]) for asked in questions
    ]
