"""What a person sees: tables that fit the terminal and leave nothing out."""

from reviewlm import terminal


def test_a_cell_that_is_too_long_is_folded_and_not_cut(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "RESULT_WIDTH", 30)
    names = [f"a-mixture-with-a-long-name-{last}" for last in "xy"]
    terminal.show_rows([{"model": name, "perplexity": 1_234.5, "seconds": 2} for name in names])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 30
    first = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    assert first == "".join(names)
