"""Which items are queries, labeled, unlabeled, validation and database."""
