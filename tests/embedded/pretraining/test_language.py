"""What pretraining withholds is withheld, and what it is said to teach is taught."""

import random
import re
from collections import defaultdict

import pytest

from dept_vl.embedded.pretraining import language
from dept_vl.embedded.pretraining.language import ASKED, DIALECTS, descriptions
from dept_vl.embedded.shapes.language import WORDINGS, captions, word_answer, word_question
from dept_vl.embedded.shapes.questions import KINDS, ask
from dept_vl.embedded.shapes.text_rows import tell
from dept_vl.embedded.shapes.world import sample_scene
from dept_vl.tasks import CaptionTask, VqaTask
from tests.scene_reading import pattern, place, told, truth

# Every input of pretraining opens with one of these and a colon or a form's name.
OPENERS = (*DIALECTS, "describe")
FORMATS = {"vqa", "caption"}
TRUTHS, DIGITS = {"yes", "no"}, set("01234")


def downstream(number: int = 600):
    """(kind, which wording, source, answer) of questions as `VqaTask` puts them, whatever their picture."""
    rng, task = random.Random("downstream"), VqaTask()
    for index in range(number):
        kind = KINDS[index % len(KINDS)]
        question = ask(sample_scene(rng, wanted_held_out=True), kind, rng)
        for which, wording in enumerate(WORDINGS[kind] if question else ()):
            text = task.template.format(question=word_question(question, wording))
            yield kind, which, text, word_answer(question)


def search(wording: str, text: str) -> bool:
    return pattern(wording).search(text) is not None


def skeleton(text: str) -> str:
    """A description without what it describes: lists of things, numbers, grounds and places become marks."""
    text = re.sub(r"\b(one|two|three|four) shapes?\b", "#", text.lower())
    text = re.sub(r"\ban? (?:large |small )?(?:red|green|blue|yellow|purple|orange) \w+(?: at the \w+ \w+)?", "@", text)
    return re.sub(r"\b(dark|light)\b", "~", re.sub(r"@(?:, @)*(?: and @)?", "@", text))


def test_no_input_opens_with_a_downstream_format(lessons):
    for _, lesson in lessons:
        assert lesson.source.startswith(tuple(f"{word}:" for word in DIALECTS) + ("describe ",))
        for text in (lesson.source, lesson.target):
            assert not FORMATS & set(re.findall(r"\w+", text.lower()))
    assert not FORMATS & set(OPENERS)
    assert all(task.template.partition(":")[0] in FORMATS for task in (VqaTask(), CaptionTask()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_wording_of_a_kind_is_withheld_and_the_first_is_taught(kind, lessons):
    first, second = WORDINGS[kind]
    texts = [text for _, lesson in lessons for text in (lesson.source, lesson.target)]
    assert not any(search(second, text) for text in texts)
    assert any(search(first, text) for text in texts) == (kind in ASKED)
    found = [search(second, text) for asked, which, text, _ in downstream() if (asked, which) == (kind, 1)]
    assert len(found) > 20 and all(found), "the search above must be able to find it"


def test_nobody_asks_about_the_ground(lessons):
    assert set(KINDS) - set(ASKED) == {"ground"}
    for _, lesson in lessons:
        assert lesson.kind in (*ASKED, "describe")
        if lesson.kind != "describe":
            assert not {"background", "dark", "light"} & set(re.findall(r"\w+", lesson.source.partition("given:")[0]))
            assert lesson.target not in ("dark", "light")
    assert any("background" in lesson.source for _, lesson in lessons), "told scenes mention it"


def test_no_dialect_has_the_label_set_of_the_data(lessons):
    answers = defaultdict(set)
    for _, lesson in lessons:
        if lesson.kind != "describe":
            answers[lesson.source.partition(":")[0]].add(lesson.target)
    assert set(answers) == set(DIALECTS)
    for name, words in answers.items():
        assert not (words & TRUTHS and words & DIGITS), name
    assert any(words >= TRUTHS for words in answers.values()) and any(words >= DIGITS for words in answers.values())
    known = set().union(*answers.values())
    wanted = {answer for kind, _, _, answer in downstream() if kind != "ground"}
    assert wanted >= TRUTHS | DIGITS and wanted <= known, "every label is known, the set of them is new"


def test_no_caption_has_the_form_of_a_description():
    rng, theirs, ours = random.Random("forms"), set(), set()
    for _ in range(400):
        scene = sample_scene(rng, wanted_held_out=False)
        theirs |= {skeleton(text) for text in captions(scene, rng)}
        ours |= {skeleton(text) for _, text in descriptions(scene)} | {skeleton(tell(scene, rng))}
    assert "a picture of @ on a ~ background." in theirs and "here is @." in ours
    assert len(theirs) == 6 and not theirs & ours  # "there is # here" and "there are # here" are two


def test_every_word_of_the_downstream_texts_is_taught(lessons, tokenizer):
    """As the tokenizer sees words: normalised, split at spaces and punctuation."""
    machine = tokenizer.backend_tokenizer

    def words(text: str) -> set[str]:
        return {word for word, _ in machine.pre_tokenizer.pre_tokenize_str(machine.normalizer.normalize_str(text))}

    taught = set().union(*(words(text) for _, lesson in lessons for text in (lesson.source, lesson.target)))
    rng, wanted = random.Random("words"), words(CaptionTask().template)
    for _, _, source, answer in downstream():
        wanted |= words(source) | words(answer)
    for _ in range(200):
        wanted |= set().union(*map(words, captions(sample_scene(rng, wanted_held_out=True), rng)))
    mark = machine.pre_tokenizer.pre_tokenize_str("a")[0][0][:-1]  # byte-level BPE's visible space
    assert {word.removeprefix(mark) for word in wanted - taught} == FORMATS


def test_the_answer_of_a_lesson_is_what_its_words_say_of_the_scene(lessons):
    for scene, lesson in lessons:
        if lesson.kind == "describe":
            continue
        name, _, rest = lesson.source.partition(": ")
        text, dialect = rest.partition(" given: ")[0], DIALECTS[name]
        wording = next(each for each in language._WORDINGS[lesson.kind] if pattern(each).fullmatch(text))
        answer = truth(lesson.kind, wording, text, scene)
        if lesson.kind in ("exist", "spatial"):
            answer = dialect.truth[answer == "no"]
        elif lesson.kind == "count":
            answer = dialect.numbers[int(answer)]
        elif lesson.kind == "size":
            answer = dialect.sizes[answer]
        assert lesson.target == answer


def test_a_scene_is_told_whole_or_given_beside_the_text(lessons):
    for scene, lesson in lessons:
        _, given, text = lesson.source.partition(" given: ")
        if not given:
            assert lesson.scene is scene
            continue
        assert lesson.scene is None and f"{scene.ground} background." in text
        wanted = [(thing.size, thing.color, thing.shape, place(thing)) for thing in scene.things]
        assert sorted(told(text)) == sorted(wanted)


def test_descriptions_say_what_is_there():
    rng = random.Random("descriptions")
    for _ in range(200):
        scene = sample_scene(rng, wanted_held_out=False)
        for form, text in descriptions(scene):
            sized, placed = form in ("large", "all"), form == "place"
            assert told(text) == [
                (thing.size if sized else "", thing.color, thing.shape, place(thing) if placed else "")
                for thing in scene.things
            ]
            if form in ("large", "all", "picture"):
                assert re.search(r"\b(dark|light)\b", text)[1] == scene.ground


def test_every_dialect_answers_every_kind(lessons):
    pairs = {(lesson.source.partition(":")[0], lesson.kind) for _, lesson in lessons if lesson.kind != "describe"}
    assert pairs == {(name, kind) for name in DIALECTS for kind in ASKED}
