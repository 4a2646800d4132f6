"""Write answers in words: effects with intervals, sentences, margins."""

import math

from alexlab.reporting.formatting import format_metric, is_fraction
from alexlab.studies import statistics as st
from alexlab.studies.answers import ClaimAnswer
from alexlab.studies.claims import Claim, is_ratio
from alexlab.studies.metrics import parse_metric
from alexlab.studies.results import ALL_RUNS

MANY_SEEDS = f"more than {st.MAX_SEEDS}"
WORDS = {"acc": "accuracy", "mae": "absolute error", "loss": "loss", "f1": "F1"}
PARTS = {
    "last_3": "(mean of the last 3 epochs)",
    "duplicates": "of images with a duplicate in train",
    "unique": "of images without a duplicate in train",
}
FUNCTION_NAMES = {
    "last": "{} at the last epoch",
    "mean": "mean {} over the epochs",
    "min": "lowest {}",
    "max": "highest {}",
    "epochs_to": "epochs to {}",
    "epoch_std": "variability of {} between epochs",
    "generalization_gap": "gap in {} between train and test",
    "rise": "rise of {}",
}


def metric_name(expression: str) -> str:
    """Write a metric in words: test/acc_last_3 is "test accuracy (mean of the last 3 epochs)"."""
    metric = parse_metric(expression)
    split, _, name = metric.name.rpartition("/")
    base, _, rest = name.partition("_")
    text = f"{'train' if split == 'fit' else split} {WORDS.get(base, base)}".strip()
    if rest:
        text += f" {PARTS.get(rest) or 'with ' + rest.replace('_', ' ')}"
    if metric.argument is not None and metric.function == "epochs_to":
        text += f" {metric.argument:g}"
    text = FUNCTION_NAMES.get(metric.function, "{}").format(text)
    if metric.function == "epoch_std":
        text += f" from epoch {metric.argument:g}"
    return text


def seeds(count: int) -> str:
    """Return "1 seed" or "5 seeds"."""
    return f"{count} seed{'s' * (count != 1)}"


def effect_with_interval(one: ClaimAnswer) -> str:
    """Format an effect with its interval: "+5.2 points (+2.1 to +8.3)"."""
    return describe_interval(one.claim.metrics[0], one.interval, one.claim.target)


def describe_interval(metric: str, interval: st.Interval, target: float | None = None) -> str:
    """Format a mean difference with its interval: "+5.2 points (+2.1 to +8.3)"; "-" for NaN.

    Args:
        metric: The metric of the claim.
        interval: Mean and limits, logarithms for a ratio; limits that are NaN are left out.
        target: The number with which a claim of the kind `within` compares.
    """
    if math.isnan(interval.mean):
        return "-"
    values = [interval.mean, *clipped(metric, interval, target)]
    if is_ratio(metric):
        mean, low, high = (_ratio(math.exp(value)) for value in values)
        text = f"{mean} times"
    else:
        size = max(abs(value) for value in values if not math.isnan(value))
        text = format_metric(metric, values[0], signed=True, like=size)
        low, high = (_limit(metric, value, size) for value in values[1:])
    return text if math.isnan(interval.low) else f"{text} ({low} to {high})"


def _limit(metric: str, value: float, size: float) -> str:
    """Format a limit like `size`; one beside zero keeps a digit, as its sign decides the answer."""
    text = format_metric(metric, value, signed=True, unit=False, like=size)
    is_hidden = is_fraction(metric) and value != 0 and text in ("+0.0", "-0.0")
    return f"{100 * value:+.1g}" if is_hidden else text


def _ratio(value: float) -> str:
    """Format a ratio with two decimals, or two digits if it is below 0.1."""
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def clipped(metric: str, interval: st.Interval, target: float | None = None) -> tuple[float, float]:
    """Clip the limits of an interval to the range of the metric.

    Two fractions differ by at most 1; a fraction differs from `target` by -target to 1 - target.
    """
    if not is_fraction(metric) or is_ratio(metric) or math.isnan(interval.low):
        return interval.low, interval.high
    lowest, highest = (-1.0, 1.0) if target is None else (-target, 1 - target)
    return max(lowest, interval.low), min(highest, interval.high)


def failures(one: ClaimAnswer) -> str:
    """Write how many runs did not train, the upper limit of that share, and the consequence."""
    if not one.not_trained or one.comparison is None:
        return ""
    counts = [
        f"{failed} of {runs}{f' with {name}' * (name not in ('', ALL_RUNS))}"
        + f" (at most {st.failure_limit(failed, runs):.0%})" * (failed < runs)
        for (failed, runs), name in zip(one.not_trained, one.comparison.names, strict=False)
    ]
    text = f"Runs that did not train: {', '.join(dict.fromkeys(counts))}."
    share, name = one.undone_by
    if not math.isnan(share):
        text += (
            f" The answer is about runs that train. If {max(share, 0.001):.1%} of the runs with"
            f" {name} failed, it would not hold for the mean of all runs."
        )
    elif one.n_trained < one.n:
        inside = describe_interval(one.claim.metrics[0], one.if_trained)
        text += (
            " They count as chance, and the answer must be the same without them: in the"
            f" {one.n_trained} pairs in which both runs trained the difference is {inside}."
        )
    return text


def margin_of(claim: Claim) -> str:
    """Format the smallest difference that matters."""
    return size_of(claim, claim.margin_of_differences)


def size_of(claim: Claim, size: float) -> str:
    """Format the size of a difference, without a sign."""
    if claim.is_ratio:
        return f"a factor of {math.exp(size):.2f}"
    if is_fraction(claim.metrics[0]):
        text = f"{100 * size:.3g}"
        return f"{text} point{'s' * (text != '1')}"
    return format_metric(claim.metrics[0], size)


def sentence(one: ClaimAnswer) -> str:
    """Write the answer as one sentence with its numbers, or the reason why there is no answer."""
    claim = one.claim
    if one.answer == st.NOT_TESTED or one.comparison is None:
        return f"{one.reason}."
    name, control = metric_name(claim.metrics[0]), f"with {one.comparison.names[1]}"
    subject = f"With {one.comparison.names[0]}, {name}"
    if claim.kind == "within":
        control = format_metric(claim.metrics[0], claim.target or 0.0)
    elif claim.metrics[0] != claim.metrics[1]:
        subject, control = name[:1].upper() + name[1:], metric_name(claim.metrics[1])
    numbers = f"{effect_with_interval(one)}, {seeds(one.n)}"
    of_conditions = claim.kind != "within" and claim.metrics[0] == claim.metrics[1]
    compared = f"{subject}, against {control}"
    if of_conditions:
        compared = f"{name[:1].upper()}{name[1:]}, {' against '.join(one.comparison.names)}"
    if one.answer == st.CANNOT_TELL:
        seen = size_of(claim, one.smallest_detectable)
        return f"{compared}: cannot tell ({numbers}); a difference of {seen} would have been seen."
    if one.answer == st.NO_DIFFERENCE and of_conditions:
        return f"{compared}: the difference is less than {margin_of(claim)} ({numbers})."
    if one.answer == st.NO_DIFFERENCE:
        return f"{subject} differs from {control} by less than {margin_of(claim)} ({numbers})."
    if claim.is_ratio:
        return f"{subject} is {_ratio(math.exp(one.effect))} times that {control} ({numbers})."
    word = "higher" if one.answer == st.MORE else "lower"
    return f"{subject} is {word} than {control} ({numbers})."


def why(one: ClaimAnswer) -> str:
    """Write in one line why a claim has its answer."""
    margin = margin_of(one.claim)
    disagreement = next((note for note in one.notes if note.startswith("the two readings")), "")
    if one.answer == st.CANNOT_TELL and disagreement:
        return disagreement
    reasons = {
        st.MORE: f"the whole interval is above 0; a difference of {margin} matters",
        st.LESS: f"the whole interval is below 0; a difference of {margin} matters",
        st.NO_DIFFERENCE: f"the whole interval is within the margin of {margin}",
        st.CANNOT_TELL: f"the interval contains 0 and extends beyond the margin of {margin}",
    }
    return one.reason or reasons.get(one.answer, "")


def answer_lines(one: ClaimAnswer) -> list[str]:
    """Return a claim with its answer, effect and reason, as lines for a terminal."""
    verdict = f"{one.answer}; the claim is {one.judgement}" if one.judgement else one.answer
    lines = [f"claim    {one.claim.statement}", f"answer   {verdict}"]
    if not math.isnan(one.effect) and one.comparison is not None:
        names = " against ".join(filter(None, one.comparison.names))
        name = metric_name(one.claim.metrics[0])
        lines.append(f"effect   {effect_with_interval(one)}, {seeds(one.n)}")
        lines.append(f"         {name}, {names}")
    return [*lines, f"why      {why(one)}", ""]


def headline(answers: list[ClaimAnswer]) -> str:
    """Answer the question of the study: first the decided claims, then the others."""
    given = [one for one in answers if one.answer in (st.MORE, st.LESS, st.NO_DIFFERENCE)]
    open_ones = [one for one in answers if one.answer == st.CANNOT_TELL]
    untested = [one for one in answers if one.answer == st.NOT_TESTED]
    said = list(dict.fromkeys(map(sentence, given)))[:3]
    rest = []
    if len(given) > len(said):
        rest.append(f"{len(given) - len(said)} more below")
    if open_ones:
        rest.append(f"cannot tell for {len(open_ones)} of {len(answers)} claims")
    if untested:
        reasons = {one.reason for one in untested}
        why = f": {reasons.pop()}" if len(reasons) == 1 else ""
        rest.append(f"{len(untested)} of {len(answers)} claims not tested{why}")
    tail = "; ".join(rest)
    return " ".join([*said, tail[:1].upper() + tail[1:] + "." * bool(tail)]).strip()


def image_by_image(one: ClaimAnswer) -> str:
    """Write the results image by image: McNemar's test and the bootstrap."""
    found = one.per_image
    if found is None:
        return ""
    parts = []
    if found.only_first is not None and found.only_second is not None:
        first, second = (metric_name(metric) for metric in one.claim.metrics)
        parts.append(
            f"Image by image: {found.only_first:.1%} of the test images are right only by {first},"
            f" {found.only_second:.1%} only by {second} (means over runs); McNemar's exact test"
            f" gives p < 0.05 in {found.significant} of {found.runs} runs."
        )
    if found.bootstrap is not None:
        images, mean, low, high = found.bootstrap
        said = describe_interval(one.claim.metrics[0], st.Interval(mean, low, high))
        parts.append(
            f"A bootstrap over the {images} different test images of these runs, duplicates"
            f" together, gives {said}."
        )
    return " ".join(parts)
