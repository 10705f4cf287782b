"""Saved adapters beside their frozen models: pictures and questions in, answers out.

Each row may name another adapter and gets what that adapter alone would give it: it is asked in that adapter's
prompt format and answered with its number of beams, as adapter_config.json records them. What an adapter trained
inside the frozen model is attached while its rows are answered; rows of several such follow one another, so one thread
at a time may ask.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.backbones import Backbone, MissingBackbone, load_backbone
from dept_vl.data.chat import turn_of
from dept_vl.data.tokenizer import MissingTokenizer, load_fitting
from dept_vl.model import Batch, Network
from dept_vl.saved import SavedAdapter, read_any, write_adapter
from dept_vl.serve.chat import plan_chat
from dept_vl.serve.collate import collate_rows
from dept_vl.serve.fitting import Fitted, fit
from dept_vl.serve.named import DEFAULT_NAME, NamedAdapters, UnknownAdapter
from dept_vl.serve.notices import Notice, warn_of_texts
from dept_vl.serve.pictures import Pixels, check_picture, look, pixels_of
from dept_vl.serve.rows import Row, WrongRows, plan_rows, plan_texts, together
from dept_vl.train.evaluate import Answerer
from dept_vl.tuning import Tuning
from dept_vl.vision import Tower

BATCH_SIZE = 32


class AdaptedModel:
    """A frozen language model, a frozen image tower (None while no adapter reads images) and named adapters.

    `answer` and `caption` use the active adapter, or the one that `adapter_names` gives each row; "__base__" is
    the language model with neither prompt nor shift, asked in the active adapter's prompt format. It has no
    projection, so an image in a row of it is refused (`WrongRows`), never ignored.

    Every row is checked before any model runs, so what a list may hold stands in the text (`Picture`, `Text`).
    """

    def __init__(self, backbone: Backbone, tokenizer: Any, tower: Tower | None = None) -> None:
        self.network = Network(backbone, {}).eval()
        self.tokenizer, self.tower = tokenizer, tower
        self.adapters = NamedAdapters()
        self.notice: Notice = warn_of_texts
        self._inside: Tuning | None = None

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        device: str | torch.device = "cpu",
        backbone: Path | str | None = None,
        vision: Path | str | None = None,
        *,
        adapter_name: str = DEFAULT_NAME,
        dtype: str = "float32",
        load_in: str | None = None,
    ) -> "AdaptedModel":
        """Load an adapter folder beside the frozen models that it names.

        Args:
            backbone, vision: folders (or names) of the frozen models in place of the recorded names; their
                content must be what was recorded.
            dtype: in which the language model computes, float32 or bfloat16.
            load_in: int8, int8_dynamic or nf4, in which its linear layers are held; None is dtype.

        Raises:
            BadAdapterFolder, MismatchedBackbone, WrongTokenizer; MissingBackbone, MissingTokenizer or UnloadableTower
            where a frozen model is not found.
        """
        saved = read_any(folder)
        name = str(backbone or saved.config["base_model_name_or_path"])
        revision = None if backbone else saved.config["revision"]
        kind = "causal" if saved.config["task_type"] == "CAUSAL_LM" else "seq2seq"
        pad_token = (saved.config["task"] or {}).get("pad_token")
        try:
            frozen = load_backbone(name, kind=kind, revision=revision, dtype=dtype, load_in=load_in)
            facts = frozen.token_facts()
            tokenizer = load_fitting(name, facts, kind=kind, revision=revision, pad_token=pad_token)
        except (MissingBackbone, MissingTokenizer) as error:
            raise type(error)(f"{error}; backbone= gives its folder where its name is not found") from error
        if (saved.config["task"] or {}).get("chat_template"):
            frozen.chat(turn_of(tokenizer).end)
        model = cls(frozen.to(device), tokenizer)
        model._add(saved, adapter_name, vision)
        return model

    @property
    def backbone(self) -> Backbone:
        return self.network.backbone

    @property
    def device(self) -> torch.device:
        return self.backbone.model.device

    @property
    def frozen_models(self) -> list[nn.Module]:
        """The language model with what is attached to it, and the tower where there is one."""
        return [self.network, *([] if self.tower is None else [self.tower])]

    @property
    def active_adapters(self) -> list[str]:
        """The adapter that answers, in a list as PEFT has it; empty while disabled."""
        return [self.adapters.answering] if self.adapters.answering in self.adapters.loaded else []

    def load_adapter(self, folder: Path | str, adapter_name: str) -> None:
        """Add an adapter made for the same frozen models. The active one stays active.

        Raises: BadAdapterFolder, MismatchedBackbone; UnknownAdapter for a name that is taken or impossible.
        """
        self._add(read_any(folder), adapter_name)

    def delete_adapter(self, adapter_name: str) -> None:
        """If it was active, the first of the others becomes active. Raises: UnknownAdapter."""
        if self.adapters.find(adapter_name).inside is self._inside:
            self._put_inside(None)
        self.adapters.delete(adapter_name)
        del self.network.bank[adapter_name]

    def set_adapter(self, adapter_name: str) -> None:
        """Raises: UnknownAdapter."""
        self.adapters.set(adapter_name)

    def disable_adapter(self) -> AbstractContextManager[None]:
        """Inside, rows without a name of their own are "__base__"'s."""
        return self.adapters.disable()

    def answer(
        self,
        images: Sequence[Any] | None,
        questions: Sequence[Any],
        adapter_names: Sequence[Any] | None = None,
    ) -> list[str]:
        """An answer to each question, a text, about the image beside it, a `Picture`. `images`, or one of them, None:
        text alone.

        Raises:
            WrongRows, WrongTask, UnknownAdapter, UnsupportedPicture: before any row is answered.
            UnreadableImage: likewise, but for a file that is cut or broken behind its header: when the row's turn
            comes; `preprocess` finds it earlier.
        """
        return self.answer_rows(plan_rows("vqa", images, questions, adapter_names, self.adapters))

    def caption(self, images: Sequence[Any], adapter_names: Sequence[Any] | None = None) -> list[str]:
        """A caption for each image, a `Picture`. Raises: as `answer`."""
        return self.answer_rows(plan_rows("caption", images, None, adapter_names, self.adapters))

    def classify(self, texts: Sequence[Any], adapter_names: Sequence[Any] | None = None) -> list[str]:
        """The class of each text, by its name ("entailment"): what greedy decoding among the task's labels would say.

        A `Text` is a row of its adapter's task (as {"premise": ..., "hypothesis": ...}), or a string where the task
        reads one field.

        Raises: WrongRows, WrongTask, UnknownAdapter.
        """
        return self.answer_rows(plan_texts(texts, adapter_names, self.adapters, classify=True))

    def generate(self, texts: Sequence[Any], adapter_names: Sequence[Any] | None = None) -> list[str]:
        """A free answer to each text, as the adapters of question answering and summaries give it. `texts` as in
        `classify`; an adapter with labels answers with one of them, or with anything else.

        Raises: WrongRows, WrongTask, UnknownAdapter.
        """
        return self.answer_rows(plan_texts(texts, adapter_names, self.adapters, classify=False))

    def chat(
        self,
        conversations: Sequence[Any],
        images: Sequence[Any] | None = None,
        adapter_names: Sequence[Any] | None = None,
        *,
        max_new_tokens: int | None = None,
    ) -> list[str]:
        """The model's next turn in each conversation, a `Conversation`, in its own chat template, for adapters trained
        in it. The shift covers the text of the last turn, which is the user's; earlier turns are read as they are.
        images: a `Picture` each, for adapters that read images. max_new_tokens: None is the adapter's
        max_target_length, which may be as short as the answers that it learnt.

        Raises: WrongRows, WrongTask, UnknownAdapter, UnsupportedPicture, UnreadableImage; TooManyPositions for a
            conversation that does not fit the model.
        """
        given = conversations, images, adapter_names, self.adapters, self.tokenizer, max_new_tokens
        return self.answer_rows(plan_chat(*given))

    def preprocess(self, picture: Any) -> Float[Tensor, "channels height width"]:
        """The pixels that the tower reads of a `Picture`; `answer` and `caption` take them too.

        Raises: UnreadableImage for a file, UnsupportedPicture; WrongRows where no adapter reads images.
        """
        if self.tower is None:
            raise WrongRows("no adapter here reads images: wanted None in place of the image, given one")
        return pixels_of(check_picture(picture), self.tower.preprocess).as_subclass(Pixels)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the adapter "default" (without one, the active one) to `folder`, every other to a sub-folder.

        Raises: UnknownAdapter when none is loaded; OSError on a full disk, with older files kept.
        """
        loaded = self.adapters.loaded
        top = DEFAULT_NAME if DEFAULT_NAME in loaded else self.adapters.active
        if top is None:
            raise UnknownAdapter("save_pretrained: wanted at least one loaded adapter, given none")
        for name, saved in loaded.items():
            write_adapter(Path(folder) if name == top else Path(folder) / name, saved)

    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, token: str | bool | None = None, **upload: Any
    ) -> Any:
        """Upload what `save_pretrained` writes; `upload` goes to `HfApi.upload_folder`, whose result is returned.
        Nothing else here sends anything anywhere."""
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            api.create_repo(repo_id, private=private, exist_ok=True)
            return api.upload_folder(repo_id=repo_id, folder_path=folder, **upload)

    def _add(self, saved: SavedAdapter, name: str, vision: Path | str | None = None) -> None:
        self.join(name, self.fit(saved, name, vision))

    def fit(self, saved: SavedAdapter, name: str, vision: Path | str | None = None) -> Fitted:
        """Check an adapter against what is loaded, and fold it. Nothing here changes, so any thread may do it.

        Raises: UnknownAdapter, WrongTask, MismatchedBackbone, UnloadableTower.
        """
        self.adapters.check_free(name)
        covers = self.network.covers if self.adapters.loaded else None
        return fit(saved, name, self.backbone, self.tower, covers, vision)

    def join(self, name: str, fitted: Fitted) -> None:
        """Let a fitted adapter answer under this name; no other is touched. Raises: UnknownAdapter, UnfitTuning."""
        self.adapters.check_free(name)
        self._put_inside(fitted.saved.inside)  # now, to find whether its weights fit
        self._put_inside(None)
        self.tower, self.network.covers = fitted.tower, fitted.saved.config["covers"]
        self.adapters.add(name, fitted.saved)
        self.network.bank[name] = fitted.entry

    def answer_rows(self, rows: Sequence[Row]) -> list[str]:
        """The answers of planned rows, of whatever kinds and adapters, in their order."""
        answers, alike = [""] * len(rows), defaultdict(list)
        for row in rows:
            alike[together(row, self.adapters)].append(row)
        for key, own in alike.items():
            for start in range(0, len(own), BATCH_SIZE):
                batch = own[start : start + BATCH_SIZE]
                for row, text in zip(batch, self.answer_batch(batch, key.inside), strict=True):
                    answers[row.place] = text
        return answers

    @torch.no_grad()
    def answer_batch(self, rows: Sequence[Row], inside: Tuning | None) -> list[str]:
        """The answers of rows that may stand in one batch (`together`), with their `inside` in the frozen model."""
        self._put_inside(inside)
        texts = Answerer(self.network, self.tokenizer, rows[0].decoding)(self.batch_of(rows))
        return [row.meanings.get(text, text) for row, text in zip(rows, texts, strict=True)]

    def attach_inside(self, adapter_name: str) -> None:
        """Let the frozen model compute with what this adapter trained inside it, and with nothing else."""
        saved = self.adapters.loaded.get(adapter_name)
        self._put_inside(None if saved is None else saved.inside)

    def _put_inside(self, tuning: Tuning | None) -> None:
        """Let the frozen model compute with `tuning` in it, and with no other. Raises: BadTuning, UnfitTuning."""
        if self._inside is tuning:
            return
        if self._inside is not None:
            self._inside.detach()
        self._inside = None
        self.network.serve_inside(None)
        if tuning is not None:
            tuning.attach(self.backbone)
        self._inside = tuning
        self.network.serve_inside(tuning)

    def read(self, rows: Sequence[Row]) -> Batch:
        """What the network reads for rows of one adapter, whose tuning is inside the frozen model from now on."""
        self.attach_inside(rows[0].adapter)
        return self.batch_of(rows)

    def batch_of(self, rows: Sequence[Row]) -> Batch:
        """What the network reads for rows of one `max_source_length`."""
        batch = collate_rows(rows, self.tokenizer, self.backbone.text_form, self.notice).to(self.device)
        names = tuple(row.adapter for row in rows)
        if self.tower is None or all(row.picture is None for row in rows):
            return dataclasses.replace(batch, adapters=names)
        features, images = look(self.tower, [(row.place, row.picture) for row in rows])
        return dataclasses.replace(batch, features=features.to(self.device), images=images, adapters=names)
