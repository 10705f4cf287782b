"""Run the tower once over the images of a data set and store the grid features; training finds them again.

python scripts/extract_features.py                                                  # the embedded default
python scripts/extract_features.py --config configs/paper/vqa_dept.yaml --task.root data/vqa2
"""

from dept_vl.cli import extract

if __name__ == "__main__":
    extract.main()
