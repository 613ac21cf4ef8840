"""Documents: collections, vocabularies and topics."""
