"""Golden traces: conversations of the Python session, written down so that a client in any language can replay them."""
