"""Rows about a few images: what a causal model keeps of them changes nothing, and each image is read once."""

import pytest
import torch

from dept_vl.backbones import SharedImages
from dept_vl.backbones.prompt_cache import MixedPrompts

NAMES = ("gpt2", "llama")
PROMPT, VISUAL = 3, 4
PREFIX = torch.tensor([[4, 8]])  # the beginning of an answer

pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def backbone(load, name):
    return load(name)


def rows_about(backbone, images: str, *, lengths=(3, 1, 4, 2, 5), seed: int = 0, prompt: int = PROMPT) -> tuple:
    """Prompt, visual tokens of the image with that letter, a text, and pads of noise on the right; and the images."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(prompt, backbone.d_model, generator=generator)
    seen = {letter: torch.randn(VISUAL, backbone.d_model, generator=generator) for letter in "abcdef"}
    width = prompt + VISUAL + max(lengths) + 1
    embeds, mask = torch.full((len(images), width, backbone.d_model), 7.0), torch.zeros(len(images), width).long()
    for row, (letter, length) in enumerate(zip(images, lengths, strict=False)):
        text = backbone.embed(torch.randint(3, backbone.vocabulary, (1, length), generator=generator))[0]
        own = torch.cat([start, seen[letter], text])
        embeds[row, : len(own)], mask[row, : len(own)] = own, 1
    return embeds, mask, SharedImages(VISUAL, tuple(images))


def check_same(given: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (given - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("prompt", [0, PROMPT])
def test_what_is_kept_changes_no_logit_and_no_answer(backbone, prompt):
    said = set()
    for seed, images in enumerate(("aabab", "bbc", "c", "dabcd")):  # b and c stand on both sides of an edge
        embeds, mask, shared = rows_about(backbone, images, seed=0 if seed < 3 else 1, prompt=prompt)
        kept = {"prompt_length": prompt, "images": shared}
        check_same(
            backbone.next_token_logits(embeds, mask, PREFIX, **kept), backbone.next_token_logits(embeds, mask, PREFIX)
        )
        for beams in (1, 3):
            decoding = {"max_new_tokens": 4, "num_beams": beams}
            answers = backbone.generate(embeds, mask, **decoding, **kept)
            assert torch.equal(answers, backbone.generate(embeds, mask, **decoding))
            said |= set(map(tuple, answers.tolist()))
    assert len(said) > 8
    assert backbone.image_cache.computed == 3 + 4  # a, b, c; and four other ones of the same names
    assert backbone.prompt_cache.computed == (2 if prompt else 0)


def test_each_image_is_read_once_where_rows_come_image_by_image(backbone):
    read = []
    backbone.model.register_forward_pre_hook(
        lambda _, __, given: read.append(tuple(given["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    for images in ("aab", "bbb", "bcc", "cd"):
        embeds, mask, shared = rows_about(backbone, images, lengths=(2, 2, 2))
        backbone.next_token_logits(embeds, mask, PREFIX[:, :0], prompt_length=PROMPT, images=shared)
    texts = [(len(images), 3) for images in ("aab", "bbb", "bcc", "cd")]  # two tokens and the pad
    assert read == [(1, PROMPT), (2, VISUAL), texts[0], texts[1], (1, VISUAL), texts[2], (1, VISUAL), texts[3]]
    assert backbone.image_cache.computed == 4


def test_processes_that_hold_parts_of_the_weights_read_equally_often(backbone):
    """One forward over images and one over texts in every call, whatever was kept: another process waits for both."""
    backbone.synced, read = True, []
    backbone.model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["inputs_embeds"].shape[1]), with_kwargs=True
    )
    for images in ("aab", "aab", "bcc"):
        embeds, mask, shared = rows_about(backbone, images, lengths=(2, 2, 2))
        kept = backbone.next_token_logits(embeds, mask, PREFIX[:, :0], prompt_length=PROMPT, images=shared)
        check_same(kept, backbone.next_token_logits(embeds, mask, PREFIX[:, :0]))
    assert read == [PROMPT, *[VISUAL, 3, PROMPT + VISUAL + 3] * 3]


def test_an_image_that_differs_by_rounding_is_kept_and_any_other_is_read_again(backbone):
    embeds, mask, shared = rows_about(backbone, "ab")
    kept = {"prompt_length": PROMPT, "images": shared}
    before = backbone.next_token_logits(embeds, mask, PREFIX, **kept)
    for _ in range(20):  # each as little as rounding does, together as much as another image
        visual = embeds[:, PROMPT : PROMPT + VISUAL]
        visual *= 1 + 2e-6
        given, wanted = (backbone.next_token_logits(embeds, mask, PREFIX, **each) for each in (kept, {}))
        assert (given - wanted).abs().max() <= 1e-3 * wanted.abs().max()
    assert 2 < backbone.image_cache.computed < 2 * 20
    visual[1] += torch.linspace(-1, 1, embeds.shape[2])
    computed = backbone.image_cache.computed
    after = backbone.next_token_logits(embeds, mask, PREFIX, **kept)
    assert backbone.image_cache.computed == computed + 1 and not torch.allclose(before[1], after[1], atol=1e-2)


def test_rows_that_claim_one_image_and_have_two_are_refused(backbone):
    embeds, mask, _ = rows_about(backbone, "aab")
    wrong = SharedImages(VISUAL, ("a", "a", "a"))
    with pytest.raises(MixedPrompts, match="same first 7 columns in all rows about one image.* 3 rows about 1 image"):
        backbone.generate(embeds, mask, max_new_tokens=2, prompt_length=PROMPT, images=wrong)
    mask[0, PROMPT] = 0
    with pytest.raises(MixedPrompts, match="wanted a prompt without pads"):
        backbone.generate(embeds, mask, max_new_tokens=2, prompt_length=PROMPT, images=wrong)


@pytest.mark.parametrize("change", ["train", "dtype", "changed"])
def test_the_kept_images_go_when_the_model_changes(backbone, change):
    embeds, mask, shared = rows_about(backbone, "ab")
    kept = {"max_new_tokens": 2, "prompt_length": PROMPT, "images": shared}
    backbone.generate(embeds, mask, **kept)
    {
        "train": lambda: backbone.train().train(False),
        "dtype": lambda: backbone.bfloat16().float(),
        "changed": backbone.changed,
    }[change]()
    backbone.generate(embeds, mask, **kept)
    assert backbone.image_cache.computed == 4
    backbone.train().generate(embeds, mask, **kept)  # dropout acts
    assert backbone.image_cache.computed == 4


def test_bf16_autocast_keeps_images_of_its_own(backbone):
    embeds, mask, shared = rows_about(backbone, "aba")
    kept = {"prompt_length": PROMPT, "images": shared}
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = backbone.next_token_logits(embeds, mask, PREFIX, **kept)
    assert backbone.image_cache.computed == 2
    whole = backbone.next_token_logits(embeds, mask, PREFIX, **kept)
    assert backbone.image_cache.computed == 4
    torch.testing.assert_close(half.float(), whole, rtol=0.05, atol=0.3)


def test_a_row_without_text_of_its_own_is_read_without_what_is_kept(backbone):
    embeds, mask, shared = rows_about(backbone, "ab", lengths=(2, 0))
    kept = {"prompt_length": PROMPT, "images": shared}
    check_same(
        backbone.next_token_logits(embeds, mask, PREFIX, **kept), backbone.next_token_logits(embeds, mask, PREFIX)
    )
    assert backbone.image_cache.computed == 0
