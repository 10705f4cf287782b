"""What the page shows of answers: cards of HTML, and the picture with the parts that mattered marked on it."""

import html
import math
from collections.abc import Sequence

from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dept_vl.serve.demo.asking import Said
from dept_vl.serve.likely import Likely
from dept_vl.serve.occlusion import grid_boxes

OTHERS = 3  # answers shown beside an adapter's own
LONG = 10  # tokens of an answer from which on its probability a token is told too
MARKED = 480  # pixels of the marked picture's longer side
MARK = (230, 85, 13)
LITTLE = 0.05  # nats: a twentieth of the probability
FULL = math.log(10)  # nats that make a mark as strong as it gets, where the strongest part has no more


def percent(share: float) -> str:
    if 0.9995 <= share < 1:
        return ">99.9%"
    return "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def problem(text: str) -> str:
    """One plain sentence that says what is wrong."""
    return f'<p class="problem" role="alert">{html.escape(text)}</p>'


def hint(text: str) -> str:
    """A quiet sentence; nothing for no text."""
    return text and f'<p class="hint" role="status">{html.escape(text)}</p>'


def answer_cards(said: Sequence[Said], truth: str | None = None) -> str:
    """A card for each adapter, with what it says blind at its foot. truth: the right answer, where it is known."""
    known = "" if truth is None else f'<p class="truth">The right answer is <b>{html.escape(truth)}</b>.</p>'
    cards = "".join(f"<li>{_card(each)}</li>" for each in said)
    notes = dict.fromkeys(f"{each.adapter.name}: {note}" for each in said for note in each.notes)
    told = "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)
    return f'<div class="answers" role="status">{known}<ul>{cards}</ul>{told}</div>'


def _card(said: Said) -> str:
    name, about = html.escape(said.adapter.name), html.escape(said.adapter.about)
    who = f'<p class="who"><b>{name}</b> <span>{about}, {1000 * said.seconds:.0f} ms</span></p>'
    own, *others = said.answers
    bar = f'<span class="bar"><span style="width:{100 * min(own.probability, 1):.1f}%"></span></span>'
    others = "; ".join(f"{_words(each.text)} {percent(each.probability)}" for each in others[:OTHERS])
    rest = f'<p class="else">Else it might say: {others}.</p>' if others else ""
    blind = f'<p class="blind">Blind: {_answer(said.blind[0])}</p>' if said.blind else ""
    return f'{who}<p class="own">{_answer(own)}</p>{bar}{rest}{blind}'


def _answer(answer: Likely) -> str:
    a_token = ""
    if len(answer.tokens) >= LONG:
        a_token = f", {percent(answer.probability ** (1 / len(answer.tokens)))} a token"
    return f"<b>{_words(answer.text)}</b> <span>{percent(answer.probability)}{a_token}</span>"


def _words(text: str) -> str:
    return html.escape(text) or "<i>(nothing)</i>"


def marked(picture: Image.Image, drops: Float[Tensor, "rows columns"], probability: float) -> Image.Image:
    """The picture, its parts the more orange the more the answer rests on them. In each stands the probability of the
    answer where the part is covered; `probability` is that of the answer to the whole picture."""
    scale = MARKED / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    seen = picture.convert("RGBA").resize(size, Image.Resampling.LANCZOS)
    layer = Image.new("RGBA", size)
    pen = ImageDraw.Draw(layer)
    boxes, most = grid_boxes(size, tuple(drops.shape)), max(float(drops.max()), FULL)
    font = ImageFont.load_default(max(11, min(20, (boxes[0][0][2] - boxes[0][0][0]) // 5)))
    for line, values in zip(boxes, drops.tolist(), strict=True):
        for box, drop in zip(line, values, strict=True):
            pen.rectangle(box, fill=(*MARK, round(190 * min(max(drop, 0) / most, 1))), outline=(128, 128, 128, 110))
            middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            text = percent(min(1.0, probability * math.exp(-drop)))
            pen.text(middle, text, "white", font, "mm", stroke_width=2, stroke_fill="black")
    return Image.alpha_composite(seen, layer).convert("RGB")


def in_words(drops: Float[Tensor, "rows columns"], answer: Likely, name: str) -> str:
    """What the marked picture shows, as a sentence above it."""
    row, column = divmod(int(drops.argmax()), drops.shape[1])
    covered = percent(min(1.0, answer.probability * math.exp(-float(drops.max()))))
    found = f"It rests most on row {row + 1}, column {column + 1}: without it {covered}."
    if float(drops.max()) < LITTLE:
        found = "No single part decides it."
    says = f"{html.escape(name)} says <b>{_words(answer.text)}</b> with {percent(answer.probability)}."
    how = "Each part of the picture was covered in turn: the number in it is what is left of that probability."
    return f"<p>{says} {how} {found}</p>"
