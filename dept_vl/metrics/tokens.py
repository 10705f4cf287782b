"""Caption tokens: Stanford's PTB tokenizer when there is a java, a small Python one when there is none.

Caption scores compare token strings, so the tokenizer is part of the protocol. The official one is
PTBTokenizer of Stanford CoreNLP 3.4.1 with -preserveLines -lowerCase, followed by a list of marks to drop
(https://github.com/tylin/coco-caption, pycocoevalcap/tokenizer/ptbtokenizer.py). Lower-casing comes before
dropping and the list is in upper case, so brackets stay as -lrb- and -rrb-: we follow it.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pycocoevalcap
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

from dept_vl.metrics.java import LOCALE, JavaFailed, complaint, environment

DROPPED = frozenset(PUNCTUATIONS)
_JAR = Path(pycocoevalcap.__path__[0], "tokenizer", STANFORD_CORENLP_3_4_1_JAR)
_CLASS = "edu.stanford.nlp.process.PTBTokenizer"
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_SPLIT_WORDS = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "lemme": "lem me",
    "wanna": "wan na",
    "y'all": "y' all",
}
_ABBREVIATIONS = "mr|mrs|ms|dr|st|jr|sr|no|vs|etc|mt|ft|rd|ave|blvd|inc|co|corp|prof|gen|lt|col"
_TOKEN = re.compile(
    rf"""
      [^\s@]+@[\w.-]+\.\w+                              # an e-mail address
    | </?\w+>                                           # a tag
    | \b(?:{_ABBREVIATIONS})\.(?!\w)
    | \b(?:[^\W\d_]\.){{2,}}(?!\w)                      # a.m., u.s.
    | \b[^\W\d_]\.(?=\s+\w)                            # an initial
    | \d+:\d+(?=[ap]m\b)                               # 3:15 of 3:15pm
    | \d+(?:[.,:/]\d+)+(?!\w)                          # 10:30, 1/2, 1,000
    | '\d0s\b | 'n'                                    # '90s, rock 'n' roll
    | n't\b | '(?:s|re|ve|ll|d|m)\b                     # the second half of a contraction
    | \w+?(?=n't\b)                                     # its first half
    | \w+(?:(?:[-/&.]|'(?!(?:s|re|ve|ll|d|m|t)\b))\w+)* # e-mail, man/woman, hello.world, o'clock
    | !!+ | \?\?+                                       # runs are kept, single marks are dropped
    | [^\s"“”—–…]
    """,
    re.VERBOSE,
)


def one_line(caption: str) -> str:
    """The caption without line breaks of any kind: the tokenizer works line by line, and one carriage return
    would move every later caption to its neighbour."""
    return " ".join(caption.splitlines())


def ptb_tokens(captions: Sequence[str], java: str) -> list[str]:
    """Tokens of every caption joined by spaces, through one start of `java`. Raises JavaFailed."""
    command = [java, *LOCALE, "-cp", str(_JAR), _CLASS, "-preserveLines", "-lowerCase"]
    text = "".join(f"{one_line(caption)}\n" for caption in captions).encode("utf-8", errors="replace")
    try:
        done = subprocess.run(command, input=text, capture_output=True, env=environment())
    except OSError as error:
        raise JavaFailed(f"the PTB tokenizer did not start with {java}: {error}") from error
    lines = done.stdout.decode("utf-8").split("\n")[:-1]
    if done.returncode != 0 or len(lines) != len(captions):
        output = done.stderr + (done.stdout if done.returncode else b"")  # where java says why it does not start
        raise JavaFailed(
            f"the PTB tokenizer gave {len(lines)} lines, wanted {len(captions)} "
            f"(exit status {done.returncode} of {java}): {complaint(output)}"
        )
    return [_kept(line.rstrip().split(" ")) for line in lines]


def python_tokens(captions: Sequence[str]) -> list[str]:
    """Tokens of every caption joined by spaces, without java: the same as `ptb_tokens` on ordinary captions
    (the share measured on COCO val2017 is in tests/metrics/test_tokens.py), not on every odd line."""
    return [_kept(_split(one_line(caption).lower())) for caption in captions]


def _split(caption: str) -> list[str]:
    caption = caption.replace("’", "'").replace("‘", "'")
    found = (_BRACKETS.get(token, token) for token in _TOKEN.findall(caption))
    return [piece for token in found for piece in _SPLIT_WORDS.get(token, token).split(" ")]


def _kept(tokens: Sequence[str]) -> str:
    return " ".join(token for token in tokens if token not in DROPPED)
