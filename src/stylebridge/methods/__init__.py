"""Training methods: each is its networks and the phases of one step. :mod:`.registry` finds them."""
