"""From gradients to an update of the weights: clipping, learning rate, SGD or Adam."""

import ctypes
import math

import numpy as np
import torch

from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.kernels.gates import address, compiled, kernels
from lstmp.nnet.model import StateNetwork


class Adam(torch.optim.AdamW):
    """torch's AdamW, which writes its moments in the same way; for float32 on a CPU each weight is updated in one pass
    over memory (kernels.cpp): for a network of 2 million weights 4 times as fast."""

    @torch.no_grad()
    def step(self, closure=None):
        given = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        fit = compiled(*given, *(p.grad for p in given))
        if closure is not None or not fit or not all(p.is_contiguous() and p.grad.is_contiguous() for p in given):
            return super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)

    def _update(self, p, group):
        state = self.state[p]
        if not state:
            state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        state["step"] += 1
        (beta_1, beta_2), rate, step = group["betas"], group["lr"], float(state["step"])
        numbers = (beta_1, 1 - beta_1, beta_2, 1 - beta_2, group["eps"], rate, rate / (1 - beta_1**step),
                   math.sqrt(1 - beta_2**step), group["weight_decay"])
        tensors = p, p.grad, state["exp_avg"], state["exp_avg_sq"]
        library = kernels()
        assert library is not None
        library.lstmp_adam(ctypes.c_int64(p.numel()), *map(address, tensors), *map(ctypes.c_float, numbers))


def make_optimizer(cfg: LstmpConfig, model: StateNetwork) -> torch.optim.Optimizer:
    """Adam or SGD with momentum; weight decay (decoupled for Adam) on matrices only, not on biases and peepholes."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and not name.endswith("peephole")]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or name.endswith("peephole")]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if cfg.optimizer == "adam":
        return Adam(groups, lr=cfg.lr_initial, betas=(cfg.momentum, 0.999))
    return torch.optim.SGD(groups, lr=cfg.lr_initial, momentum=cfg.momentum)


def moments(optimizer: torch.optim.Optimizer, model: StateNetwork) -> dict[str, torch.Tensor]:
    """What the optimizer remembers of each weight, as {weight.what: tensor}."""
    return {f"{name}.{key}": value for name, p in model.named_parameters()
            for key, value in optimizer.state[p].items() if torch.is_tensor(value)}


def set_moments(optimizer: torch.optim.Optimizer, model: StateNetwork, tensors: dict[str, torch.Tensor]):
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


def clip_gradients(model: StateNetwork, element: float, norm: float) -> float:
    """Clip each element of the weights' gradients to [-element, element], then their joint norm; 0 means no clipping.

    Returns: the joint norm before the second; NaN or infinite if one of them was (clipping would hide an infinity).
    """
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    total = _joint_norm(grads)
    if element > 0 and total > element and np.isfinite(total):  # no element is larger than the norm
        for g in grads:
            g.clamp_(-element, element)
        total = _joint_norm(grads)
    if norm > 0 and total > norm:
        for g in grads:
            g.mul_(norm / total)
    return total


def _joint_norm(grads) -> float:
    squares = [torch.dot(g.reshape(-1), g.reshape(-1)) for g in grads]  # in half the time of vector_norm
    return math.sqrt(float(torch.stack(squares).double().sum()))
