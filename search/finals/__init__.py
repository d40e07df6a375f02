"""The end of a search: its best trials trained anew, the choice among them, the comparison."""
