"""Exchange gateways, and the execution service that keeps orders and reports true. Does I/O."""
