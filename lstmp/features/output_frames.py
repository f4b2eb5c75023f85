"""The output frames of a network whose output has fewer frames than its input: how many there are, and where they lie.

With `subsampling: S`, a step of the network reads a group of S frames and makes one output frame (Pundak and Sainath,
"Lower frame rate neural network acoustic models", Interspeech 2016). The groups follow each other without overlap; the
last one of an utterance is completed with copies of the last frame. An output frame stands for its group, and its state
is that of the group's middle frame: frame S t + S // 2 for output frame t.
"""

from typing import Any

import numpy as np
import torch


def output_lengths(lengths: Any, subsampling: int) -> Any:
    """Number of output frames of an utterance, from its number of frames: the quotient, rounded up; int, or int64 of
    any shape."""
    return (lengths + subsampling - 1) // subsampling


def target_frames(outputs: Any, subsampling: int, phase: Any) -> Any:
    """The number of the frame whose state is the target of an output frame: the middle one of its group.

    Args:
        outputs: numbers of output frames, int or int64 of any shape.
        subsampling: frames in a group.
        phase: the frame with which the first group begins, of the same type, in a shape that fits.

    Returns:
        the numbers, which may be beyond the end of the utterance: then its last frame counts.
    """
    return phase + subsampling * outputs + subsampling // 2


def padding(frames: int, subsampling: int, delay: int) -> int:
    """Number of copies of the last frame that a network reads after an utterance of ``frames`` frames: those that
    complete the last group, and ``delay`` groups more."""
    return -frames % subsampling + subsampling * delay


def phases(lengths: torch.Tensor, subsampling: int, seed: int, epoch: int) -> torch.Tensor:
    """The frame with which the first group of each utterance begins in an epoch of training.

    An utterance begins at another frame in each of ``subsampling`` consecutive epochs, so that all of its frames are
    targets in turn. Depends only on the arguments and on the place of the utterance in the set.

    Args:
        lengths: int64 [U], number of frames of each utterance.
        subsampling: frames in a group.
        seed, epoch: of the training; epochs are numbered from 0.

    Returns:
        int64 [U], from 0 to ``subsampling`` - 1; at most the number of the utterance's last frame.
    """
    begin = np.random.default_rng([seed, 3]).integers(0, subsampling, len(lengths))
    return torch.from_numpy((begin + epoch) % subsampling).minimum(lengths - 1)
