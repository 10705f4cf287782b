"""The shipped tokenizer (one is trained where none is shipped) and a few thousand lessons."""

import random
from collections.abc import Callable

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from dept_vl.embedded import embedded
from dept_vl.embedded.pretraining.language import ASKED, Lesson, description_lesson, question_lesson
from dept_vl.embedded.pretraining.tokenizer import train_tokenizer
from dept_vl.embedded.shapes.world import Scene, held_out, sample_scene


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(embedded("tiny-t5"))
    except FileNotFoundError:
        return train_tokenizer(tmp_path_factory.mktemp("tokenizer"), seed=1)


@pytest.fixture(scope="session")
def lessons() -> list[tuple[Scene, Lesson]]:
    """Scenes with lessons about them: every kind given and told, and every form of description."""
    rng, pairs = random.Random("lessons"), []
    for _ in range(300):
        scene = sample_scene(rng, wanted_held_out=False)
        for kind in ASKED:
            for told in (False, True):
                if lesson := question_lesson(scene, kind, rng, told=told):
                    pairs.append((scene, lesson))
        pairs += [(scene, description_lesson(scene, rng)) for _ in range(3)]
    return pairs


@pytest.fixture
def watch_scenes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Scene]]:
    """watch_scenes(module): the list that every scene which the module samples from now on is added to."""

    def watch(module) -> list[Scene]:
        seen: list[Scene] = []

        def sample(*arguments, **keywords):
            seen.append(sample_scene(*arguments, **keywords))
            return seen[-1]

        monkeypatch.setattr(module, "sample_scene", sample)
        return seen

    return watch


@pytest.fixture
def none_held_out() -> Callable[[list[Scene]], bool]:
    return lambda scenes: len(scenes) > 0 and not any(map(held_out, scenes))
