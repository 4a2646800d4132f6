"""Simulate studies, and count how often answers are wrong: `python -m benchmarks.answers`.

A simulated study has several claims, looks at growing numbers of seeds, and measured spreads. An
answer is wrong if it is "more" but the truth is at most 0, "less" but the truth is at least 0, or
"no difference that matters" but the truth is at least the margin. A study is wrong if one of its
claims is wrong. The simulation takes some minutes; --studies sets the number of studies.

Differences are normal, or bimodal: a share of the runs stays at chance, with an accuracy lower by
tens of points, in both conditions or only in the better one. A bimodal condition has two truths:
the mean difference of runs that train, and the mean of all runs with failures as chance. An answer
states the first, and also the second after a failure was seen (see alexlab.studies.statistics). It
is wrong if it contradicts a truth that it states.

The last column is the share of studies in which an answer contradicts the mean of all runs, with or
without seen failures. No rule based on a mean can keep this share small, and a later first look
(--looks 40) cannot either: a failure that occurs in one of n runs is not seen among n seeds in
about a third of the studies, for every n. Therefore reports print how many runs failed, how many
may fail, and how many failures would change the answer.

A later first look is worse, not better. With looks at 20 and 40 seeds, and a fifth of the better
condition's runs at chance, the statement about all runs is wrong in 14% of the studies, since the t
interval of a few failures among 20 seeds is too short. With looks at 5, 10, 20 and 40 seeds it is
wrong in 2% (the first looks decide, or their interval is wide because there are few seeds).
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alexlab.studies import statistics as st
from alexlab.studies.validity import MIN_SHARE

LOOKS = [5, 10, 20, 40]
MARGIN = 2.0  # points of accuracy, as in the studies
CLAIMS = 3
SPREADS = (2.0, 3.0, 5.0, 8.0)  # points: 2.4 measured in converged runs, 5 to 9 in short ones
STUCK = 60.0  # points between a run at chance and a run that learnt
TRUTHS = 0.0, 0.5 * MARGIN, MARGIN, 2 * MARGIN


@dataclass(frozen=True)
class Spread:
    """Describe how differences vary: normal, and with a share of runs at chance."""

    sd: float  # points
    share: float = 0.0  # share of the treatment's runs that stay at chance
    both: bool = False  # whether the same share of the control's runs stays there

    @property
    def cost(self) -> float:
        """Return the effect of failures on the mean difference of all runs, in points."""
        return 0.0 if self.both else STUCK * self.share

    def __str__(self) -> str:
        """Describe the spread."""
        where = "both" if self.both else "one"
        return f"sd {self.sd:g}" + f", {self.share:.0%} at chance in {where}" * bool(self.share)


@dataclass
class Outcome:
    """Hold the results of simulated studies: counts of answers, shares of studies, seeds."""

    answers: Counter[str]
    wrong_studies: float
    wrong_for_all_runs: float  # studies wrong about the mean of all runs, even without a failure
    seeds: float  # mean number of seeds when the study ended


def draw(
    truth: float, spread: Spread, count: int, rng: np.random.Generator
) -> tuple[st.Sample, st.Sample]:
    """Draw differences [count] in points, and failures [2, count] of treatment and control.

    Args:
        truth: Mean difference of runs that train.
        spread: Spread of the differences.
        count: Number of seeds.
        rng: Source of random numbers.
    """
    failed = rng.random((2, count)) < spread.share
    if not spread.both:
        failed[1] = False
    normal = rng.normal(truth, spread.sd, count)
    return np.where(failed[0], -STUCK, 0) + np.where(failed[1], STUCK, 0) + normal, failed


def is_wrong(answer: str, truth: float, margin: float = MARGIN) -> bool:
    """Return whether an answer contradicts the truth."""
    return (
        (answer == st.MORE and truth <= 0)
        or (answer == st.LESS and truth >= 0)
        or (answer == st.NO_DIFFERENCE and abs(truth) >= margin)
    )


def answer_claim(
    truth: float, spread: Spread, looks: Sequence[int], rng: np.random.Generator
) -> tuple[st.Look, bool]:
    """Answer one of `CLAIMS` claims; return its look, and whether a run had failed by then."""
    values, failed = draw(truth, spread, looks[-1], rng)
    trained = ~failed.any(0)
    samples = [
        st.Pairs(values[:n], trained[:n]) if failed[:, :n].mean(1).max() <= 1 - MIN_SHARE else None
        for n in looks
    ]
    look = st.look_at(samples, looks, MARGIN, comparisons=CLAIMS)
    return look, bool(look.number and failed[:, : looks[look.number - 1]].any())


def simulate(
    truth: float, spread: Spread, studies: int, looks: Sequence[int] = LOOKS, seed: int = 0
) -> Outcome:
    """Simulate studies whose claims all have the same truth for runs that train."""
    rng = np.random.default_rng([seed, round(10 * abs(truth))])
    of_all = truth - spread.cost
    counts: Counter[str] = Counter()
    wrong = wrong_for_all = seeds = 0
    for _ in range(studies):
        found = [answer_claim(truth, spread, looks, rng) for _ in range(CLAIMS)]
        counts.update(look.answer if look.number else st.NOT_TESTED for look, _ in found)
        against_all = [is_wrong(look.answer, of_all) for look, _ in found]
        wrong += any(
            is_wrong(look.answer, truth) or (failed and against)
            for (look, failed), against in zip(found, against_all, strict=True)
        )
        wrong_for_all += any(against_all)
        answered = [
            looks[k.number - 1] if k.answer != st.CANNOT_TELL else looks[-1] for k, _ in found
        ]
        seeds += max(answered)
    return Outcome(counts, wrong / studies, wrong_for_all / studies, seeds / studies)


def cases() -> list[tuple[Spread, float]]:
    """Return the rows of the table: spreads, and truths for runs that train."""
    found = [(Spread(sd), truth) for sd in SPREADS for truth in TRUTHS]
    for share in (0.05, 0.2):
        found += [(Spread(3.0, share, both=True), truth) for truth in TRUTHS]
    for share in (0.02, 0.05, 0.2):
        one = Spread(3.0, share)
        truths = sorted({*TRUTHS, *(one.cost + truth for truth in TRUTHS)})
        found += [(one, truth) for truth in truths]
    return found


def main() -> None:
    """Print a table of shares, in percent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1500)
    parser.add_argument("--looks", default=",".join(map(str, LOOKS)))
    options = parser.parse_args()
    looks = [int(n) for n in options.looks.split(",")]
    print(f"{options.studies} studies per row, {CLAIMS} claims each, looks at {looks} seeds,")
    print(f"margin {MARGIN:g} points; shares of claims in percent, wrong: shares of studies\n")
    head = st.ANSWERS
    print("| spread | truth if trained | truth of all runs | " + " | ".join(head), end="")
    print(" | wrong studies | seeds | wrong for all runs |")
    print("|---|" + "---:|" * (len(head) + 5))
    for spread, truth in cases():
        found = simulate(truth, spread, options.studies, looks)
        total = sum(found.answers.values())
        shares = (f"{100 * found.answers[answer] / total:.0f}" for answer in head)
        print(
            f"| {spread} | {truth:g} | {truth - spread.cost:g} | {' | '.join(shares)} |"
            f" {100 * found.wrong_studies:.1f} | {found.seeds:.0f} |"
            f" {100 * found.wrong_for_all_runs:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
