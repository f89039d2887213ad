"""The paper at the press of a key: grids of runs, what came of each, and a report beside the paper's numbers."""
