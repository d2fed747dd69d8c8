"""How fast jaxinit is, beside what a JAX user would use instead.

`python -m benchmarks.core`, or `python benchmarks/core.py` where the repository is on the path
(`pip install -e .`, or `PYTHONPATH=.`); so for `orthogonal` and `fused_key`. Each prints Markdown
and takes `--rounds N` and `--out FILE`.
"""
