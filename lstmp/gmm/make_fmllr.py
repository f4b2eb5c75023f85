"""Write a data dir with the features of a speaker-adapted GMM, as input for networks.

The model's LDA+MLLT transform and the speaker's fMLLR transform are applied to each frame. The fMLLR transforms come
from the ``trans.ark`` of an alignment (training data) or of a decoding (other data; no transcripts are used).
"""

import argparse
from pathlib import Path

from lstmp.corpus.bad import LeftOut
from lstmp.corpus.datadir import copy_tables, existing_tables, read_data_dir
from lstmp.errors import UserError, command
from lstmp.features.about import write_about
from lstmp.features.ark import ArkWriter
from lstmp.features.load import Features, data_inputs
from lstmp.gmm.adapt import read_transforms
from lstmp.gmm.model import AcousticModel
from lstmp.log import progress, say
from lstmp.stage import Stage

_OUTPUTS = ("feats.ark", "feats.scp", "utt2num_frames", "feats.json")


def make_fmllr(data, model_dir, transforms_dir, out):
    """Write the adapted features of ``data`` to the data dir ``out``, unless this has been done already.

    Raises:
        UserError: the model is not speaker-adapted, a speaker has no transform, or the features do not fit the model.
    """
    data, model_dir, transforms_dir, out = map(Path, (data, model_dir, transforms_dir, out))
    model = AcousticModel.load(model_dir)
    if model.si_gmms is None:
        raise UserError("this model was not trained with speaker adaptation", file=model_dir,
                        hint="give a model such as tri3b, trained with conf/tri3b.yaml")
    if out.resolve() == data.resolve():
        raise UserError("this folder is also the input (--data)", file=out, hint="give another folder as --out")
    tables = existing_tables(data)
    inputs = [model_dir / "final.safetensors", transforms_dir / "trans.ark", *data_inputs(data), *tables]
    stage = Stage(out, "fmllr", inputs, {})
    if stage.is_done():
        return
    transforms = read_transforms(transforms_dir)
    features = Features(data, model.input, model.transform, transforms)
    if missing := sorted({features.speaker(u) for u in features.utts} - set(transforms)):
        raise UserError(f"speaker {missing[0]} has no transform", file=transforms_dir / "trans.scp",
                        hint="align or decode this data dir, and give the folder of that alignment or decoding")
    copies = copy_tables(read_data_dir(data, need=("utt2spk",)), out)
    left_out, frames = LeftOut(data), {}
    with ArkWriter(out / "feats.ark", out / "feats.scp") as writer:
        for utt in progress(features.utts, f"fmllr {out.name}"):
            try:
                feats = features.load(utt).numpy()
            except UserError as e:
                left_out.add(utt, e)
                continue
            writer.write(utt, feats)
            frames[utt] = len(feats)
    left_out.done()
    if not frames:
        raise UserError("no utterance has usable features", file=data / "feats.scp", hint="make the features again")
    total = write_about(out, "fmllr", features.dim, frames, len(left_out), features.frame_shift, model=str(model_dir),
                        transforms=str(transforms_dir))
    stage.mark([*(out / name for name in _OUTPUTS), *copies])
    say(f"{out}: {total:,} frames of {features.dim} values")


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="steps/make_fmllr.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="data dir with MFCC features")
    parser.add_argument("--model", required=True, help="folder of a speaker-adapted GMM, such as exp/<recipe>/tri3b")
    parser.add_argument("--transforms", required=True, help="folder with trans.ark and trans.scp of the data's "
                        "speakers")
    parser.add_argument("--out", required=True, help="data dir to write")
    args = parser.parse_args(argv)
    make_fmllr(args.data, args.model, args.transforms, args.out)


if __name__ == "__main__":
    main()
