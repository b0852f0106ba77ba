"""Reports: what a run's log, text and model tell, as one page that needs no network."""
