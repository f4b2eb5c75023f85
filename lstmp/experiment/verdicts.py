"""The verdicts and comparisons of a grid's page, from the content of ``results.json``."""

from lstmp.experiment.claims import FAILS, HOLDS, OPEN, SIGNIFICANT
from lstmp.score.report import table

_NAMES = {"accuracy": "held-out frame accuracy", "early": "held-out frame accuracy after one epoch",
          "gap": "training less held-out frame accuracy", "wer": "WER"}
_VERBS = {HOLDS: "hold", FAILS: "fail"}


def verdicts(claims: list[dict]) -> str:
    """The table of claims with their verdicts."""
    lines = []
    for i, c in enumerate(claims, 1):
        decisions = [d["decision"] for d in c["comparisons"]]
        counts = [f"{n} {d if n == 1 else _VERBS.get(d, d)}"
                  for d in (HOLDS, FAILS, OPEN) if (n := decisions.count(d))]
        reasons = "; ".join(filter(None, [", ".join(counts), c["why"]]))
        lines.append([str(i), c["claim"], f"**{c['verdict']}**", reasons])
    return table(["", "claim", "verdict", "its comparisons"], lines, left=4)


def verdict_rules(r: dict, unfinished: bool) -> str:
    """Say what the verdicts mean; ``unfinished``: some runs are not done."""
    looks = r["looks"]
    return ("A [comparison](#comparisons) holds if the difference is significantly the one that is claimed, or within "
            "the margin that is claimed; it fails if the difference is significantly the opposite one, or outside the "
            "margin; otherwise it is not decided. Equal networks cannot refute that one is better, or has more: such a "
            "comparison stays undecided. A claim holds if all its comparisons hold, fails if one of them fails, and is "
            "partly run if some lack a network. Significant: twice the smaller of the one-sided "
            f"p-values is below {SIGNIFICANT / looks:g}, after Holm's (1979) correction for the {r['comparisons']} "
            "comparisons that are planned on this page."
            + (f" The level is {SIGNIFICANT:g} divided by {looks}, since claims are decided {looks} times: networks of "
               "comparisons that the first seeds leave undecided get more seeds." if looks > 1 else "")
            + (" Verdicts can change until all runs are done, since the variance over seeds is estimated from all "
               "networks" + _pages(r) + "." if unfinished else ""))


def _pages(r: dict) -> str:
    """Name the other pages whose networks show how much results vary."""
    return "".join(f", those of [another page]({page}/README.md) too" for page in r["varied"]["pages"])


def tests_used(r: dict) -> str:
    """Say by which tests the comparisons are decided."""
    text = "Intervals and p-values are those of Welch's t-test over the seeds."
    if r["deviations"]:
        expected = "; ".join(f"{_NAMES[measure]}, {deviation:.2g} points"
                             + (f", with a weight of {df:.1f} degrees of freedom" if df else
                                ", with all weight, as the networks differ no more in it than by chance")
                             for measure, (deviation, df) in r["deviations"].items())
        text = ("Intervals and p-values are those of t-tests over the seeds, in which the variance of each network is "
                "shrunk towards the variance that is typical of all networks (Smyth 2004), unless it is far larger; "
                "those of epochs and minutes are of Welch's test, as if the cost of an epoch were measured exactly. "
                "The standard deviations over seeds that are expected, from the "
                f"{r['varied']['networks']} networks with several seeds{_pages(r)}: {expected}.")
    return (f"{text} For WER the variance over utterances is added (lstmp/experiment/difference.py). The k-th seed "
            "gives all networks the same order of utterances, which the tests ignore. Differences are in points, "
            "epochs or minutes; their intervals are not corrected for the number of comparisons.")


def comparisons(claims: list[dict]) -> str:
    """The comparisons of each claim, with its discussion."""
    parts = []
    for i, c in enumerate(claims, 1):
        papers = f"In the papers: {c['papers']}" if c["papers"] else ""
        if not c["comparisons"]:
            parts += [f"{i}. {c['claim']} Not tested ({c['why']}).", papers]
            continue
        head = ["claimed", "first minus second", "95 % interval", "p", "adjusted p", "decision"]
        lines = [[d["claimed"], f"{d['difference']:+.2f}",
                  "[{:+.2f}, {:+.2f}]".format(*d["interval"]) if d["interval"] else "unknown",
                  f"{d['p_alone']:.2g}", f"{d['p']:.2g}",
                  d["decision"] + (f" ({d['why']})" if d["why"] else "")]
                 for d in c["comparisons"]]
        missing = f"{c['why'][0].upper()}{c['why'][1:]}." if c["why"] else ""
        parts += [f"{i}. {c['claim']}", papers, table(head, lines), missing, c["discussion"]]
    return "\n\n".join(filter(None, parts))
