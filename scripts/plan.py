"""Does a plan: a file of cells, or a grid of settings over seeds; goes on where it was stopped.

    python scripts/plan.py configs/plans/equal_time.yaml --jobs 2
    python scripts/plan.py --task shapes-rte --seeds 1 2 3 --grid optim.lr.prompt=1.0,2.0
    python scripts/plan.py configs/plans/dept.yaml --config configs/paper/vqa_dept.yaml --task.root data/vqa2
    python scripts/plan.py --compare runs/dept_seed1 runs/dept_seed2 --against runs/pt_seed1 runs/pt_seed2

Started several times, on several devices, the commands share the runs. docs/plans.md explains the files.
"""

from dept_vl.cli import plan

if __name__ == "__main__":
    plan.main()
