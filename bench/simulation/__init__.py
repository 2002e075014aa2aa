"""A model of the whole installation in simulated time: `make simulate`.

`measured.json` has the figures of one run of `make bench`, `costs.py` derives the costs of a step from a few of them,
`check.py` compares the model with the others, and `scale.py` asks it about installations that were not measured.
"""
