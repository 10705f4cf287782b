"""Answer a question about images, caption them, or label rows of text; one JSON line each.

python scripts/predict.py --adapter runs/vqa --image photo.jpg --question "what color is the train?"
python scripts/predict.py --adapter runs/caption --image photos/ --output captions.jsonl
python scripts/predict.py --adapter runs/cola --rows sentences.jsonl        # {"sentence": "..."} a line
"""

from dept_vl.cli import predict

if __name__ == "__main__":
    predict.main()
