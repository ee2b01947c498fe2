"""The steps of a run: builders of steps that algorithms share, the pipeline that runs them, and the evaluation."""
