"""The generated messages and stubs of the wire protocol `tidings.v1`, for what the client does not cover."""
