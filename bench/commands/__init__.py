"""The commands of ``twinbench``: each reads as its steps; words and figures come from elsewhere."""
