"""Check with one command whether the project is correct and fast on a GPU: `make gpu-check`.

`python -m benchmarks.gpu_check --device cpu` runs the checks that need no GPU. Each result is a
line `name ok value` or `name FAIL value`; the exit code is 1 if a check failed.
"""
