import pytest

from dept_vl.tasks import TASKS, Mixture
from dept_vl.tasks.mixture import BadMixture


def test_a_mixture_is_named_by_its_tasks_and_chosen_by_their_mean():
    mixture = Mixture((TASKS["cola"], TASKS["mrpc"]))
    assert mixture.name == "cola+mrpc" and mixture.headline == "mean" and not mixture.visual
    assert mixture.selecting == (
        "mean", "cola/matthews_correlation", "cola/accuracy", "mrpc/accuracy", "mrpc/f1",
    )  # fmt: skip
    assert mixture.protocol == "as_published"


def test_the_mean_is_of_headline_scores_and_warnings_name_their_task():
    mixture = Mixture((TASKS["cola"], TASKS["mrpc"]))
    scores = {
        "cola": {"matthews_correlation": 0.5, "accuracy": 0.9, "warnings": ["a constant predictor"]},
        "mrpc": {"accuracy": 0.7, "f1": 0.1, "warnings": []},
    }
    found = mixture.combine(scores)
    assert found["mean"] == pytest.approx(0.6) and found["tasks"] == scores
    assert found["warnings"] == ["cola: a constant predictor"]


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("cola",), "given cola"),
        ((), "given none"),
        (("cola", "mrpc", "cola"), "given cola, mrpc, cola"),
        (("vqa", "cola"), "wanted tasks of text alone, or vqa and caption, given vqa, cola"),
    ],
)
def test_tasks_that_cannot_train_together_are_refused(names, given):
    with pytest.raises(BadMixture, match=given):
        Mixture(tuple(TASKS[name] for name in names))


def test_pictures_may_be_asked_about_and_captioned_in_one_mixture():
    mixture = Mixture((TASKS["vqa"], TASKS["caption"]))
    assert mixture.visual and mixture.protocol == "official-2021, coco-caption"
