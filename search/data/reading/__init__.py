"""Rows of files and data sets -> a table of text, one column a language."""
