"""What a user asks for: train, apply, evaluate, exchange. The public functions are names of ``stylebridge``."""
