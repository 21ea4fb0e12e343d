"""The package's public face."""

import stylebridge


def test_every_public_name_is_there_and_says_what_it_does() -> None:
    for name in stylebridge.__all__:
        value = getattr(stylebridge, name)
        assert name == "__version__" or (callable(value) and value.__doc__)
