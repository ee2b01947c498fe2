"""ERM++ (https://arxiv.org/abs/2304.01973): a schedule found on hold-out sets, and repeated on all data."""
