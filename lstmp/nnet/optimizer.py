"""Updates the weights from their gradients: clipping, learning rate, SGD or Adam."""

import ctypes
import math

import numpy as np
import torch

from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.kernels.gates import address, compiled, kernels
from lstmp.nnet.model import StateNetwork


class Adam(torch.optim.AdamW):
    """torch.optim.AdamW with a faster step for float32 on a CPU: each weight is updated in one pass over memory
    (kernels.cpp), 4 times as fast for a network of 2 million weights. The state has the same names and shapes."""

    @torch.no_grad()
    def step(self, closure=None):
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        supported = compiled(*params, *(p.grad for p in params))
        if closure is not None or not supported \
                or not all(p.is_contiguous() and p.grad.is_contiguous() for p in params):
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
    """Make Adam, or SGD with momentum; weight decay (decoupled for Adam) is for matrices and the kernels of
    convolutions, not for biases and peepholes."""
    matrices = [p for name, p in model.named_parameters() if p.dim() >= 2 and not name.endswith("peephole")]
    others = [p for name, p in model.named_parameters() if p.dim() < 2 or name.endswith("peephole")]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if cfg.optimizer == "adam":
        return Adam(groups, lr=cfg.lr_initial, betas=(cfg.momentum, 0.999))
    return torch.optim.SGD(groups, lr=cfg.lr_initial, momentum=cfg.momentum)


def moments(optimizer: torch.optim.Optimizer, model: StateNetwork) -> dict[str, torch.Tensor]:
    """The optimizer's state, such as momentum, as {"<weight>.<name>": tensor}."""
    return {f"{name}.{key}": value for name, p in model.named_parameters()
            for key, value in optimizer.state[p].items() if torch.is_tensor(value)}


def set_moments(optimizer: torch.optim.Optimizer, model: StateNetwork, tensors: dict[str, torch.Tensor]):
    """Restore the state that :func:`moments` returned."""
    for name, p in model.named_parameters():
        state = {k[len(name) + 1:]: v for k, v in tensors.items() if k.startswith(name + ".")}
        # Adam's step counter stays on the CPU; its moments are on the device of the weights
        optimizer.state[p] = {k: v.clone() if k == "step" else v.to(p.device, copy=True) for k, v in state.items()}


def learning_rate(cfg: LstmpConfig, progress: float) -> float:
    """The learning rate when the fraction ``progress`` (0 to 1) of the training is done.

    It decays exponentially from lr_initial to lr_final. With `decay: plateau` it is lr_initial, which the trainer
    scales.
    """
    if cfg.decay == "plateau":
        return cfg.lr_initial
    return cfg.lr_initial * (cfg.lr_final / cfg.lr_initial) ** progress


def clip_gradients(model: StateNetwork, element: float, norm: float) -> float | torch.Tensor:
    """Clip each element of the gradients to [-element, element], then their joint norm to ``norm``; 0: no clipping.

    Returns: the joint norm before it is clipped; NaN or infinite if a gradient was (clipping the elements would hide an
        infinity). On a GPU it is a tensor, which is not waited for.
    """
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    if grads and grads[0].device.type != "cpu":
        return clip_without_waiting(grads, element, norm)
    total = _joint_norm(grads)
    if element > 0 and total > element and np.isfinite(total):  # if the norm is small enough, all elements are
        for g in grads:
            g.clamp_(-element, element)
        total = _joint_norm(grads)
    if norm > 0 and total > norm:
        for g in grads:
            g.mul_(norm / total)
    return total


def clip_without_waiting(grads: list[torch.Tensor], element: float, norm: float) -> torch.Tensor:
    """The same clipping with no decision on the CPU; returns the norm before the elements are clipped, float64 []."""
    total = _squares(grads).sqrt()
    if element > 0:
        for g in grads:
            g.clamp_(-element, element)
    if norm > 0:
        factor = (norm / _squares(grads).sqrt()).clamp(max=1.0).float()
        for g in grads:
            g.mul_(factor)
    return total


def _squares(grads: list[torch.Tensor]) -> torch.Tensor:
    """The sum of the squares of all elements, float64 []."""
    # takes half the time of vector_norm
    return torch.stack([torch.dot(g.reshape(-1), g.reshape(-1)) for g in grads]).double().sum()


def _joint_norm(grads: list[torch.Tensor]) -> float:
    return math.sqrt(float(_squares(grads)))
