"""Score a finished results file in an official format, or a saved adapter, as one JSON object on stdout.

    python scripts/evaluate.py vqa --results R.json --questions Q.json --annotations A.json
    python scripts/evaluate.py caption --results R.json --annotations captions.json
    python scripts/evaluate.py own --results predictions.jsonl --root reviews.csv --task own_text
    python scripts/evaluate.py --adapter FOLDER --task cola --root data

Scores are unrounded fractions; papers print them times 100. Every file may be gzipped.
"""

from dept_vl.cli import evaluate

if __name__ == "__main__":
    evaluate.main()
