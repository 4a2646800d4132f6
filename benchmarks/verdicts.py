"""How often verdicts err: `python -m benchmarks.verdicts`, about a minute.

Differences are drawn from a normal distribution whose truth is known, of 3, 5 or 10 seeds. At the
edge of what a claim denies, it must not be confirmed more often than the level says; at the edge of
what it asserts, not be refuted more often.
"""

import argparse

import numpy as np

from alexlab.studies import statistics as st

LEVEL, MARGIN, SD = 0.05, 0.02, 0.015  # accuracies: margin and spread as in the studies
WOBBLE = 1.2  # the margin of variability, a ratio
SEEDS = (3, 5, 10)


def draw(kind: str, truth: str, n: int, rng: np.random.Generator) -> st.Evidence:
    """One experiment of `n` seeds, the truth at the edge named by `truth`: "null" or "margin"."""
    at_margin = truth == "margin"
    if kind == "greater":
        return st.test_superiority(rng.normal(MARGIN if at_margin else 0.0, SD, n), MARGIN)
    if kind == "equivalent":  # not equivalent by the least, or just equivalent: the same place
        return st.test_equivalence(rng.normal(MARGIN, SD, n), MARGIN)
    if kind == "variability":  # the log of a ratio of two standard deviations, of 15 changes each
        sizes = rng.normal(0.0, 1.0, (2, n, 15)).std(axis=2, ddof=1)
        ratio = WOBBLE if at_margin else 1.0
        return st.test_superiority(np.log(ratio * sizes[0] / sizes[1]), float(np.log(WOBBLE)))
    if kind == "rank":  # two sides of which one has a run that diverged, of n seeds each
        sides = rng.normal(0.0, SD, (2, n))
        sides[0] += MARGIN if at_margin else 0.0
        sides[:, 0] = np.inf  # on both, or else the truth would not be at the edge
        return st.test_superiority_in_rank(*sides, MARGIN)
    # extreme: of two others, the nearer one is at the edge, the other far away
    shared = rng.normal(0.0, SD / np.sqrt(2), n)
    near, far = (MARGIN if at_margin else 0.0), 10 * MARGIN
    others = (rng.normal(mean, SD / np.sqrt(2), n) for mean in (near, far))
    return st.all_of([st.test_superiority(shared + other, MARGIN) for other in others])


def errors(kind: str, truth: str, n: int, repeats: int, seed: int = 0) -> float:
    """The share of experiments that end in the wrong verdict."""
    rng = np.random.default_rng([seed, n])
    wrong = 0
    for _ in range(repeats):
        found = draw(kind, truth, n, rng)
        confirmed = found.p_confirm <= LEVEL and found.reaches_margin
        wrong += (not confirmed and found.p_refute <= LEVEL) if truth == "margin" else confirmed
    return wrong / repeats


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=4000)
    repeats = parser.parse_args().repeats
    print(f"share of wrong verdicts at level {LEVEL}, of {repeats} experiments each\n")
    print("| kind | truth | wrong verdict | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |")
    print("|---|---|---|" + "---:|" * len(SEEDS))
    for kind in ("greater", "equivalent", "extreme", "variability", "rank"):
        for truth, wrong in (("null", "confirmed"), ("margin", "refuted")):
            shares = (f"{errors(kind, truth, n, repeats):.3f}" for n in SEEDS)
            print(f"| {kind} | at the {truth} | {wrong} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
