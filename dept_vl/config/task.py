"""The task's part of the typed experiment: one task, or several that train one adapter together."""

import dataclasses
from typing import Literal

Score = Literal["auto", "vqa_accuracy", "exact_match", "best_match", "token_f1", "anls", "relaxed_accuracy"]


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How often each task of a mixture is drawn, by its number n of training examples.

    Args:
        by: size (in proportion to n: T5's examples-proportional mixing), temperature (to n ** (1 / temperature)) or
            even (each task as often as any other).
        temperature: 1 is by size, a great one nearly even.
        limit: n counts as no more than this (published: 262144 for MPT, 524288 for SPoT); null for no limit.
        tasks_per_batch: null mixes all tasks in every batch, in these proportions. [1, 1] draws one task for each
            batch, as HyperFormer does; [2, 6] draws two to six, of which some may be the same, and gives each an equal
            part of it, as MPT does.
    """

    by: Literal["size", "temperature", "even"] = "size"
    temperature: float = 10.0
    limit: int | None = None
    tasks_per_batch: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """The task, its data and its text.

    Args:
        name: vqa, caption, or a text task such as cola; --help of train_text.py lists them. own_text is your own file.
        mixture: tasks that train one adapter together, such as [cola, rte], in place of `name`; each keeps its own
            template, labels, lengths and score, and their mean picks the checkpoint.
        sampling: how often each task of the mixture is drawn.
        root: folder of the data set, in the layout of data/README.md; "shapes" generates the embedded set, "hub"
            fetches a text set from the hub. For VQA, captions and own_text also your own file or folder, and
            for the first two hub:NAME or a published set by its recipe, as vizwiz:FOLDER; docs/own_data.md has the
            formats.
        columns: what the columns of your own file are, as {image: photo, question: asked, answers: reply}; also
            captions, split, id and turns. Of own_text source (or the template's fields), target, split and id. Usual
            names are recognised, and an empty name leaves a column unread.
        image_root: folder where the image paths of your own file start; null is the file's folder and its images/.
        split_shares: shares of the images, or of a text task's texts, that train, val and test get where your own data
            says no splits.
        on_bad_row: error refuses the first row of your own data that cannot be used, skip leaves such rows out and
            lists them in skipped_rows.jsonl.
        template: the source text with the row's fields in braces, {question} for VQA. null is the task's own.
        labels: the classes of own_text, as the file writes them, to choose among; null for free answers.
        answers: of vqa: a number chooses among so many of the training set's commonest answers, a file among its lines,
            a list among its texts; null for free answers. The adapter keeps the list.
        score: of vqa: auto (by the answers: vqa_accuracy for four or more to every question, exact_match for one,
            best_match else), or one of these, token_f1, anls or relaxed_accuracy by name.
        protocol: splits and scoring: official-2021, official-2017 or always for VQA; as_published, official_dev or
            as_published_dpt for text tasks. null is the task's first.
        label_form: whether a text task's classes are written as digits or words. null is the task's own.
        decoding: score chooses among the label strings in one forward pass; generate decodes freely.
        max_source_length: tokens of the source text; longer ones are cut and counted. null is the task's own.
        max_target_length: tokens of the target, its end token included. null is the task's own.
        num_beams: beams of the decoding; 1 is greedy.
        train_split: split to train on: train, val, test or, for vqa, caption and own_text, all.
        eval_split: split that selects the checkpoint.
        test_split: split of the reported score.
        max_train_samples: at most so many training examples (null: all).
        max_eval_samples: at most so many examples of the selecting split (null: all).
        max_test_samples: at most so many examples of the test split (null: all).
        k_shot: train on so many examples of each class (null: all examples).
        k_shot_total: train on so many examples in all, drawn without balancing (null: all examples).
        draw: which of the few-shot draws; a draw is the same for every method.
        few_shot_val: full keeps the selecting split whole, k draws as many examples of it as there are to train on.
        num_fewshot: answered training examples that a frozen model (max_steps 0) reads in front of each question of a
            text task, drawn anew for each by `seed`.
    """

    name: str = "vqa"
    mixture: tuple[str, ...] | None = None
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    root: str = "shapes"
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    image_root: str | None = None
    split_shares: tuple[float, ...] = (0.8, 0.1, 0.1)
    on_bad_row: Literal["error", "skip"] = "error"
    template: str | None = None
    labels: tuple[str, ...] | None = None
    answers: int | str | tuple[str, ...] | None = None
    score: Score = "auto"
    protocol: str | None = None
    label_form: Literal["digits", "words"] | None = None
    decoding: Literal["score", "generate"] = "score"
    max_source_length: int | None = None
    max_target_length: int | None = None
    num_beams: int = 1
    train_split: str = "train"
    eval_split: str = "val"
    test_split: str = "test"
    max_train_samples: int | None = None
    max_eval_samples: int | None = None
    max_test_samples: int | None = None
    k_shot: int | None = None
    k_shot_total: int | None = None
    draw: int = 0
    few_shot_val: Literal["full", "k"] = "full"
    num_fewshot: int = 0
