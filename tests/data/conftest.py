"""A data root of four images in the official formats, to break in one place per test; and the real one."""

import json
from pathlib import Path

import pytest

REAL = Path(__file__).resolve().parents[3] / "shared" / "realdata"
IMAGES = {1: ("train2014", "train"), 2: ("val2014", "restval"), 3: ("val2014", "val"), 4: ("val2014", "test")}
QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_{}_questions.json", "v2_mscoco_{}_annotations.json"


class Root:
    """The documents as Python values; `write` puts them on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = {i: f"COCO_{subtype}_{i:012d}.jpg" for i, (subtype, _) in IMAGES.items()}
        self.documents = {
            "dataset_coco.json": {"dataset": "coco", "images": [self._karpathy(i) for i in IMAGES]},
            "captions.json": {
                "images": [{"id": i, "file_name": name} for i, name in self.names.items()],
                "annotations": [
                    {"image_id": i, "id": i * 10 + k, "caption": f"Picture {i}, told {k}.\n"}
                    for i in IMAGES
                    for k in range(5)
                ],
            },
        }
        for subtype in ("train2014", "val2014"):
            ids = [i for i, (where, _) in IMAGES.items() if where == subtype]
            self.documents[QUESTIONS.format(subtype)] = {
                "data_subtype": subtype,
                "questions": [self._question(i, k) for i in ids for k in range(2)],
            }
            self.documents[ANNOTATIONS.format(subtype)] = {
                "data_subtype": subtype,
                "annotations": [self._annotation(i, k) for i in ids for k in range(2)],
            }
        self.image_folder = "images"

    def questions(self, subtype: str = "train2014") -> list[dict]:
        return self.documents[QUESTIONS.format(subtype)]["questions"]

    def annotations(self, subtype: str = "train2014") -> list[dict]:
        return self.documents[ANNOTATIONS.format(subtype)]["annotations"]

    def karpathy(self) -> list[dict]:
        return self.documents["dataset_coco.json"]["images"]

    def write(self) -> Path:
        (self.folder / self.image_folder).mkdir(parents=True)
        for name, document in self.documents.items():
            (self.folder / name).write_text(json.dumps(document))
        for name in self.names.values():
            (self.folder / self.image_folder / name).write_bytes(b"readers do not open images")
        return self.folder

    def _karpathy(self, i: int) -> dict:
        sentences = [
            {"raw": f"Picture {i}, told {k}.\n", "tokens": ["picture"], "imgid": i, "sentid": i * 10 + k}
            for k in range(5)
        ]
        subtype, split = IMAGES[i]
        file = {"filename": self.names[i], "filepath": subtype}
        return {"cocoid": i, **file, "split": split, "sentences": sentences}

    @staticmethod
    def _question(i: int, k: int) -> dict:
        return {"image_id": i, "question": f"What is {k}?", "question_id": i * 1000 + k}

    @staticmethod
    def _annotation(i: int, k: int) -> dict:
        answers = ["red"] * 6 + ["blue"] * 3 + ["a rose"]
        return {
            "image_id": i, "question_id": i * 1000 + k, "question_type": "what is", "answer_type": "other",
            "multiple_choice_answer": "red",
            "answers": [
                {"answer": answer, "answer_confidence": "yes", "answer_id": n + 1}
                for n, answer in enumerate(answers)
            ],
        }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root")


@pytest.fixture(scope="session")
def cases() -> Path:
    folder = REAL.parent / "cases"
    if not folder.is_dir():
        pytest.skip("skipped: no ../shared/cases")
    return folder


@pytest.fixture(scope="session")
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip("skipped: no ../shared")
    return REAL
