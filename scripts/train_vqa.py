"""Train an adapter and the visual projection for VQA, and score them on the test split.

accelerate launch scripts/train_vqa.py                                  # DePT on the embedded default
accelerate launch scripts/train_vqa.py --config configs/paper/vqa_dept.yaml --task.root data/vqa2
"""

from dept_vl.cli import train

if __name__ == "__main__":
    train.main(kind="vqa")
