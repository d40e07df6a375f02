"""The sections of report.html: a file each, found by being there."""
