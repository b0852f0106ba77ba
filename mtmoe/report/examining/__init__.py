"""Examination of a run for a report: what its model makes of dev sentences, and what each expert is given."""
