"""From gradients to an update of the weights: clipping, learning rate, SGD or Adam."""

import numpy as np
import torch

from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.model import LstmpNetwork


def make_optimizer(cfg: LstmpConfig, model: LstmpNetwork) -> torch.optim.Optimizer:
    """Adam or SGD with momentum; weight decay (decoupled for Adam) on matrices only, not on biases and peepholes."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and not name.endswith("peephole")]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or name.endswith("peephole")]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if cfg.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=cfg.lr_initial, betas=(cfg.momentum, 0.999))
    return torch.optim.SGD(groups, lr=cfg.lr_initial, momentum=cfg.momentum)


def moments(optimizer: torch.optim.Optimizer, model: LstmpNetwork) -> dict[str, torch.Tensor]:
    """What the optimizer remembers of each weight, as {weight.what: tensor}."""
    return {f"{name}.{key}": value for name, p in model.named_parameters()
            for key, value in optimizer.state[p].items() if torch.is_tensor(value)}


def set_moments(optimizer: torch.optim.Optimizer, model: LstmpNetwork, tensors: dict[str, torch.Tensor]):
    """Put back what :func:`moments` gave."""
    for name, p in model.named_parameters():
        mine = {k[len(name) + 1:]: v for k, v in tensors.items() if k.startswith(name + ".")}
        # Adam counts its steps on the CPU, its moments lie where the weights are.
        optimizer.state[p] = {k: v.clone() if k == "step" else v.to(p.device, copy=True) for k, v in mine.items()}


def learning_rate(cfg: LstmpConfig, progress: float) -> float:
    """Exponential decay from lr_initial to lr_final, ``progress`` of the training being done (0 to 1); with decay on
    plateau lr_initial, which the trainer scales."""
    if cfg.decay == "plateau":
        return cfg.lr_initial
    return cfg.lr_initial * (cfg.lr_final / cfg.lr_initial) ** progress


def clip_gradients(model: LstmpNetwork, element: float, norm: float) -> float:
    """Clip each element of the weights' gradients to [-element, element], then their joint norm; 0 means no clipping.

    Returns: the joint norm before the second; NaN or infinite if one of them was (clipping would hide an infinity).
    """
    grads = [p.grad for p in model.parameters()]
    total = float(torch.stack([torch.linalg.vector_norm(g) for g in grads]).norm())
    if element > 0 and total > element and np.isfinite(total):  # no element is larger than the norm
        for g in grads:
            g.clamp_(-element, element)
        total = float(torch.stack([torch.linalg.vector_norm(g) for g in grads]).norm())
    if norm > 0 and total > norm:
        for g in grads:
            g.mul_(norm / total)
    return total
