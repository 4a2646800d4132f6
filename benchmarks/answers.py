"""How often answers are wrong: `python -m benchmarks.answers`, some minutes; --studies is how many.

Simulates whole studies: several claims, looks at growing numbers of seeds, spreads as measured.
A claim is wrong when it is answered "more" though the truth is at most 0, "less" though it is at
least 0, or "no difference that matters" though it is at least the margin. A study is wrong when any
of its claims is. Differences are normal, or bimodal: a share of the runs stays at chance, with an
accuracy lower by tens of points, in both conditions or in the better one only.

The last case has no remedy in a mean: a condition that is better by a few points, but fails in 5%
of its runs, looks better until one run has failed. Reports print how many runs stayed at chance.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alexlab.studies import statistics as st

LOOKS = [5, 10, 20, 40]
MARGIN = 2.0  # points of accuracy, as in the studies
CLAIMS = 3
SPREADS = (2.0, 3.0, 5.0, 8.0)  # points: 2.4 measured in converged runs, 5 to 9 in cut ones
STUCK = 60.0  # points that a run at chance is below one that learnt
Spread = float | tuple[float, float, bool]  # sd, or (sd, share at chance, in both conditions)


@dataclass
class Outcome:
    """Shares over simulated studies."""

    answers: Counter[str]
    wrong_studies: float
    seeds: float  # mean number of seeds when the study ended


def draw(truth: float, spread: Spread, count: int, rng: np.random.Generator) -> st.Sample:
    """Draw differences in points; a bimodal spread keeps the mean at `truth`."""
    if isinstance(spread, tuple):
        sd, share, both = spread
        first, second = rng.random((2, count)) < share
        stuck = first.astype(float) - (second if both else share)
        return truth - STUCK * stuck + rng.normal(0.0, sd, count)
    return rng.normal(truth, spread, count)


def is_wrong(answer: str, truth: float, margin: float = MARGIN) -> bool:
    """Return whether an answer contradicts the truth."""
    return (
        (answer == st.MORE and truth <= 0)
        or (answer == st.LESS and truth >= 0)
        or (answer == st.NO_DIFFERENCE and abs(truth) >= margin)
    )


def study(
    truths: Sequence[float], spread: Spread, looks: Sequence[int], rng: np.random.Generator
) -> tuple[list[str], int]:
    """Run one study until all its claims are answered or the last look; return answers, seeds."""
    answers, seeds = [], 0
    for truth in truths:
        d = draw(truth, spread, looks[-1], rng)
        parts = [d[:n] for n in looks]
        look = st.look_at(parts, looks, MARGIN, comparisons=len(truths))
        answers.append(look.answer)
        seeds = max(seeds, looks[look.number - 1])
    return answers, seeds


def simulate(
    truth: float, spread: Spread, studies: int, looks: Sequence[int] = LOOKS, seed: int = 0
) -> Outcome:
    """Simulate `studies` studies whose claims all have the same truth."""
    rng = np.random.default_rng([seed, round(10 * abs(truth))])
    counts: Counter[str] = Counter()
    wrong, seeds = 0, 0
    for _ in range(studies):
        answers, number = study([truth] * CLAIMS, spread, looks, rng)
        counts.update(answers)
        wrong += any(is_wrong(answer, truth) for answer in answers)
        seeds += number
    return Outcome(counts, wrong / studies, seeds / studies)


def _stuck(sd: float, share: float, both: bool) -> str:
    return f"sd {sd:g}, {share:.0%} at chance in {'both' if both else 'one'}"


def main() -> None:
    """Print a table of shares, in percent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1500)
    parser.add_argument("--looks", default=",".join(map(str, LOOKS)))
    options = parser.parse_args()
    looks = [int(n) for n in options.looks.split(",")]
    print(f"{options.studies} studies per row, {CLAIMS} claims each, looks at {looks} seeds,")
    print(f"margin {MARGIN:g} points; shares of claims in percent, wrong: shares of studies\n")
    head = [st.MORE, st.LESS, st.NO_DIFFERENCE, st.CANNOT_TELL]
    print("| spread | truth | " + " | ".join(head) + " | wrong studies | seeds |")
    print("|---|---:|" + "---:|" * (len(head) + 2))
    bimodal = [(3.0, share, both) for both in (True, False) for share in (0.05, 0.2)]
    for spread in [*SPREADS, *bimodal]:
        for truth in (0.0, 0.5 * MARGIN, MARGIN, 2 * MARGIN):
            found = simulate(truth, spread, options.studies, looks)
            name = f"sd {spread:g}" if isinstance(spread, float) else _stuck(*spread)
            total = sum(found.answers.values())
            shares = (f"{100 * found.answers[answer] / total:.0f}" for answer in head)
            print(
                f"| {name} | {truth:g} | {' | '.join(shares)} | {100 * found.wrong_studies:.1f} |"
                f" {found.seeds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
