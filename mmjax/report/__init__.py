"""Reports: one self-contained HTML page of a run. `verb.write_report` makes it."""
