"""The package's public names: exactly these, found by ``dir`` and ``help``, and importable without torch."""

import inspect
import subprocess
import sys

import stylebridge

PUBLIC = {
    "AdaptationResult",
    "__version__",
    "adapt",
    "demo",
    "doctor",
    "draw_toy",
    "evaluate",
    "evaluate_images",
    "evaluate_mixing",
    "evaluate_pairs",
    "export",
    "import_weights",
    "load",
    "mix_grid",
    "mix_images",
    "mix_video",
    "pack",
    "segment",
    "synthesize",
    "train",
    "train_mixer",
    "train_synthesizer",
    "train_translator",
    "translate",
}


def test_these_names_are_public_and_no_others() -> None:
    """A name that is added or removed here changes what users can rely on: it belongs into the changelog."""
    assert set(stylebridge.__all__) == PUBLIC
    assert set(dir(stylebridge)) == PUBLIC
    assert len(stylebridge.__all__) == len(PUBLIC)


def test_every_public_name_says_what_it_does() -> None:
    for name in PUBLIC - {"__version__"}:
        value = getattr(stylebridge, name)
        assert callable(value)
        assert value.__doc__
        if inspect.isfunction(value) and inspect.signature(value).parameters:
            assert "Args:" in value.__doc__ or "see :func:" in value.__doc__, name


def test_the_package_is_imported_without_torch() -> None:
    program = "import sys, stylebridge; dir(stylebridge); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
