"""Of several launched processes one prints results."""

import sys

import pytest

from stylebridge.cli import main


@pytest.mark.parametrize(("rank", "silent"), [("0", False), ("1", True)])
def test_one_process_prints(rank, silent, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(sys, "argv", ["stylebridge", "recipes", "show", "source-only-small"])
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # put back afterwards
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert (capsys.readouterr().out == "") is silent
