"""Jobs on data sets: open, check, pack, draw."""
