"""Training methods: networks and the phases of one step. :mod:`.registry` finds them."""
