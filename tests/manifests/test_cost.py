"""The worked cost of a run in the README follows from its formula and its assumptions."""

from tests.manifests.built import MANIFESTS

TEXT = (MANIFESTS / "README.md").read_text()


def test_the_hours_are_what_the_formula_gives() -> None:
    parameters, flops_per_s = 6.9e9, 989e12 * 0.35
    tokens = 93_000 * (350 + 2 * 40)
    reference_s = 2 * parameters * tokens / flops_per_s
    train_s = 6 * parameters * tokens * 2 / flops_per_s
    evaluate_s = 1024 * 64 / 500
    rows = {
        "reference": (reference_s, 1, "1,600", "0.44"),
        "train": (train_s, 3, "9,570", "8.0"),
        "evaluate": (evaluate_s, 5, "131", "0.18"),
    }
    for part, (seconds, times, shown_s, shown_h) in rows.items():
        (line,) = (line for line in TEXT.splitlines() if line.startswith(f"| {part} |"))
        assert line.endswith(f"{shown_s} | {times} | {shown_h} |")
        assert abs(seconds / float(shown_s.replace(",", "")) - 1) < 0.01
        assert abs(seconds * times / 3600 / float(shown_h) - 1) < 0.03
    hours = sum(seconds * times for seconds, times, *_ in rows.values()) / 3600
    assert f"| together | | | {hours:.1f} |" in TEXT
