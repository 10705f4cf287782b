"""`python -m dept_vl` is the command `dept-vl`."""

from dept_vl.cli import main

if __name__ == "__main__":
    main()
