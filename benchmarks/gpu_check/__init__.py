"""Check on one command whether the project is right and fast on a GPU: `make gpu-check`.

`python -m benchmarks.gpu_check --device cpu` runs those checks that need no GPU. Each check prints
`name ok value` or `name FAIL value`; the exit code is 1 if one failed.
"""
