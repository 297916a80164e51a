"""Where pixel data lives: Part 10 files, named by us."""
