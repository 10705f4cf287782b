"""Saved adapters beside their frozen models: pictures and questions in, answers out.

Each row may name another adapter and gets what that adapter alone would give it: it is asked in that adapter's
prompt format and answered with its number of beams, as adapter_config.json records them.
"""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from dept_vl.backbones import Backbone, CandidateTree, MissingBackbone, choose, load_backbone
from dept_vl.data.text import encode_targets, tokenise
from dept_vl.data.tokenizer import MissingTokenizer, load_fitting
from dept_vl.saved import SavedAdapter, check_identity, read_any, write_adapter
from dept_vl.saved.adapter_folder import SHIFT_VISUAL
from dept_vl.serve.mixing import AdapterMix
from dept_vl.serve.named import DEFAULT_NAME, NamedAdapters, UnknownAdapter
from dept_vl.serve.pictures import Picture, pixels_of
from dept_vl.serve.rows import Decoding, Row, Text, WrongRows, WrongTask, plan_rows, plan_texts
from dept_vl.vision import FrozenClip

BATCH_SIZE = 32


class AdaptedModel:
    """A frozen language model, a frozen CLIP (None while no adapter reads images) and named adapters.

    `answer` and `caption` use the active adapter, or the one that `adapter_names` gives each row; "__base__" is
    the language model with neither prompt nor shift, asked in the active adapter's prompt format. It has no
    projection, so an image in a row of it is refused (`WrongRows`), never ignored.
    """

    def __init__(self, backbone: Backbone, tokenizer: Any, clip: FrozenClip | None = None) -> None:
        self.backbone, self.tokenizer, self.clip = backbone, tokenizer, clip
        self.adapters = NamedAdapters()
        self._mixed: tuple[int, AdapterMix] | None = None

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
    ) -> "AdaptedModel":
        """Load an adapter folder beside the frozen models that it names.

        Args:
            backbone, vision: folders (or names) of the frozen models in place of the recorded names; their
                content must be what was recorded.
            dtype: in which the language model computes, float32 or bfloat16.

        Raises:
            BadAdapterFolder, MismatchedBackbone, WrongTokenizer; MissingBackbone, MissingTokenizer or UnloadableClip
            where a frozen model is not found.
        """
        saved = read_any(folder)
        name = str(backbone or saved.config["base_model_name_or_path"])
        revision = None if backbone else saved.config["revision"]
        kind = "causal" if saved.config["task_type"] == "CAUSAL_LM" else "seq2seq"
        pad_token = (saved.config["task"] or {}).get("pad_token")
        try:
            frozen = load_backbone(name, kind=kind, revision=revision, dtype=dtype)
            facts = frozen.token_facts()
            tokenizer = load_fitting(name, facts, kind=kind, revision=revision, pad_token=pad_token)
        except (MissingBackbone, MissingTokenizer) as error:
            raise type(error)(f"{error}; backbone= gives its folder where its name is not found") from error
        model = cls(frozen.to(device), tokenizer)
        model._add(saved, adapter_name, vision)
        return model

    @property
    def device(self) -> torch.device:
        return self.backbone.embedding_table.device

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
        self.adapters.delete(adapter_name)

    def set_adapter(self, adapter_name: str) -> None:
        """Raises: UnknownAdapter."""
        self.adapters.set(adapter_name)

    def disable_adapter(self) -> AbstractContextManager[None]:
        """Inside, rows without a name of their own are "__base__"'s."""
        return self.adapters.disable()

    def answer(
        self,
        images: Sequence[Picture | None] | None,
        questions: Sequence[str],
        adapter_names: Sequence[str] | None = None,
    ) -> list[str]:
        """An answer to each question about the image beside it. `images`, or one of them, None: text alone.

        Raises:
            WrongRows, WrongTask, UnknownAdapter: before any row is answered.
            UnreadableImage: when the row's turn comes; `preprocess` finds it earlier.
        """
        return self._generate(plan_rows("vqa", images, questions, adapter_names, self.adapters))

    def caption(self, images: Sequence[Picture], adapter_names: Sequence[str] | None = None) -> list[str]:
        """A caption for each image. Raises: as `answer`."""
        return self._generate(plan_rows("caption", images, None, adapter_names, self.adapters))

    def classify(self, texts: Sequence[Text], adapter_names: Sequence[str] | None = None) -> list[str]:
        """The class of each text, by its name ("entailment"): what greedy decoding among the task's labels would say.

        A text is a row of its adapter's task (as {"premise": ..., "hypothesis": ...}), or a string where the task
        reads one field.

        Raises: WrongRows, WrongTask, UnknownAdapter.
        """
        return self._generate(plan_texts(texts, adapter_names, self.adapters, classify=True))

    def generate(self, texts: Sequence[Text], adapter_names: Sequence[str] | None = None) -> list[str]:
        """A free answer to each text, as the adapters of question answering and summaries give it. `texts` as in
        `classify`; an adapter with labels answers with one of them, or with anything else.

        Raises: WrongRows, WrongTask, UnknownAdapter.
        """
        return self._generate(plan_texts(texts, adapter_names, self.adapters, classify=False))

    def preprocess(self, picture: Picture) -> Float[Tensor, "3 height width"]:
        """The pixels that CLIP reads; `answer` and `caption` take them too.

        Raises: UnreadableImage for a file, UnsupportedPicture; WrongRows where no adapter reads images.
        """
        if self.clip is None:
            raise WrongRows("no adapter here reads images: wanted None in place of the image, given one")
        return pixels_of(picture, self.clip.preprocess)

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
        self.adapters.check_free(name)
        if (saved.config["task"] or {}).get(SHIFT_VISUAL):
            raise WrongTask(
                f"{name}: wanted an adapter whose shift covers text alone, given one trained with "
                "adapter.shift_visual; scripts/evaluate.py --adapter scores it"
            )
        clip = self.clip
        if saved.projection is not None and clip is None:
            clip = _load_clip(saved.config, vision).to(self.device)
        identity = None if clip is None else clip.identity()
        check_identity(saved.config, self.backbone.identity(), identity, d_model=self.backbone.d_model)
        saved.adapter.to(self.device).eval()
        if saved.projection is not None:
            saved.projection.to(self.device).eval()
        self.clip = clip
        self.adapters.add(name, saved)

    @torch.no_grad()
    def _generate(self, rows: Sequence[Row]) -> list[str]:
        """The rows' answers in their order. Rows of equal decoding share batches, whatever their adapters."""
        answers = [""] * len(rows)
        for decoding in dict.fromkeys(row.decoding for row in rows):
            alike = [row for row in rows if row.decoding == decoding]
            for start in range(0, len(alike), BATCH_SIZE):
                batch = alike[start : start + BATCH_SIZE]
                for row, text in zip(batch, self._say(batch, decoding), strict=True):
                    answers[row.place] = row.meanings.get(text, text)
        return answers

    def _say(self, batch: Sequence[Row], decoding: Decoding) -> list[str]:
        embeds, mask = self.embed(batch)
        prompt_length = self._shared_prompt(batch)
        if decoding.candidates:
            tree = CandidateTree(encode_targets(self.tokenizer, decoding.candidates, self.backbone.kind))
            chosen = choose(self.backbone, embeds, mask, tree, prompt_length=prompt_length)
            return [decoding.candidates[place] for place in chosen.tolist()]
        ids = self.backbone.generate(
            embeds,
            mask,
            max_new_tokens=decoding.max_target_length,
            num_beams=decoding.num_beams,
            prompt_length=prompt_length,
        )
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def _shared_prompt(self, batch: Sequence[Row]) -> int:
        """How many prompt columns all rows have in common, which a causal model then computes once for all batches."""
        names = {row.adapter for row in batch}
        saved = self.adapters.loaded.get(names.pop()) if len(names) == 1 else None
        return 0 if saved is None else saved.adapter.num_virtual_tokens

    def embed(self, batch: Sequence[Row]) -> tuple[Float[Tensor, "batch out d_model"], Integer[Tensor, "batch out"]]:
        """What the language model reads for rows of equal decoding: prompt, text, visual, pads."""
        max_length = batch[0].decoding.max_source_length
        contexts = [row.context for row in batch]
        table = tokenise(
            self.tokenizer,
            [row.source for row in batch],
            max_length,
            kind=self.backbone.kind,
            contexts=contexts,
        )
        if table.cut:
            warnings.warn(
                f"{table.cut} of {len(batch)} texts have more than max_source_length={max_length} tokens: their "
                "contexts, or their ends, were cut",
                stacklevel=4,
            )
        ids = torch.from_numpy(table.padded(range(len(batch)), self.tokenizer.pad_token_id))  # [batch, seq]
        mask = (torch.arange(ids.shape[1]) < torch.from_numpy(table.lengths).unsqueeze(1)).long()
        seeing = [place for place, row in enumerate(batch) if row.picture is not None]
        features = None
        if seeing:
            features = self.clip(torch.stack([self.preprocess(batch[place].picture) for place in seeing]))
        embeds = self.backbone.embed(ids.to(self.device))
        names = [row.adapter for row in batch]
        return self._mix()(embeds, mask.to(self.device), names, features, seeing)

    def _mix(self) -> AdapterMix:
        """The loaded adapters folded into one bank, made anew only after one came or went."""
        if self._mixed is None or self._mixed[0] != self.adapters.changes:
            mix = AdapterMix(self.adapters.loaded, self.backbone.d_model).to(self.device)
            self._mixed = (self.adapters.changes, mix)
        return self._mixed[1]


def _load_clip(config: dict[str, Any], override: Path | str | None) -> FrozenClip:
    """The CLIP of an adapter's config, read and preprocessed as recorded there."""
    name, tag = config["vision_model_name"], config["vision_pretrained"]
    if override is not None:
        name = f"local-dir:{override}" if Path(override).is_dir() else str(override)
        tag = None if name.startswith(("local-dir:", "hf-hub:")) else tag
    return FrozenClip.load(
        name,
        tag,
        layer=config["vision_feature_layer"],
        pooling=config["vision_pooling"],
        pool_size=config["vision_pool_size"],
        resize="squash" if config["preprocessing"]["resize_mode"] == "squash" else "model",
        dtype=config["vision_dtype"],
    )
