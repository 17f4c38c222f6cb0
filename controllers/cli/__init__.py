"""`pmll run`, `resume`, `runs` and `replay`: controllers for whoever sits at a terminal."""
