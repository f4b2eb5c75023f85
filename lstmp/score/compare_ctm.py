"""Compare two phone alignments: share of frames with the same base phone, and differences of phone boundaries."""

import argparse
import json

from lstmp import config
from lstmp.errors import command
from lstmp.log import say, warn
from lstmp.score.ctm import compare, read_ctm


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="steps/compare_ctm.sh", description=__doc__)
    parser.add_argument("ref", help="phone CTM to compare with, may be .gz: `utt [channel] start duration phone`")
    parser.add_argument("hyp", help="phone CTM to compare, in the same format")
    parser.add_argument("--silence", nargs="+", default=["SIL"], metavar="PHONE",
                        help="base phones that do not count as speech (default: SIL)")
    parser.add_argument("--out", help="also write the result to this JSON file, which lstmp.score.results reads")
    args = parser.parse_args(argv)
    result = compare(read_ctm(args.ref), read_ctm(args.hyp), frozenset(args.silence))
    for side in ("reference", "hypothesis"):
        if n := result[f"only_in_{side}"]:
            warn(f"{n} utterances are only in the {side}")
    if args.out:
        config.write_text(args.out, json.dumps({"ref": args.ref, "hyp": args.hyp, **result}, indent=1) + "\n")
    median = result["boundary_median_ms"]
    say(f"{result['utterances']} utterances: same base phone in {100 * result['frame_agreement']:.2f} % of "
        f"{result['frames']} frames" +
        (f", boundaries: median {median:g} ms, {100 * result['boundary_within_20ms']:.2f} % within 20 ms"
         if median is not None else ""))


if __name__ == "__main__":
    main()
