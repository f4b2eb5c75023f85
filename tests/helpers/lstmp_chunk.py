"""A plain reference for LstmpChunk, and random arguments for it."""

import torch


def reference(x, r, c, w_x, w_r, bias, peephole, w_rm, w_pm, clip):
    """The equations of arXiv 1402.1128, frame by frame and gate by gate, by autograd; called like LstmpChunk.apply."""
    cells = c.shape[1]
    (w_ix, w_fx, w_cx, w_ox), (w_ir, w_fr, w_cr, w_or) = w_x.split(cells), w_r.split(cells)
    b_i, b_f, b_c, b_o = bias.split(cells)
    w_ic, w_fc, w_oc = (0.0, 0.0, 0.0) if peephole is None else peephole
    outputs = []
    for x_t in x:
        i = torch.sigmoid(x_t @ w_ix.T + r @ w_ir.T + w_ic * c + b_i)
        f = torch.sigmoid(x_t @ w_fx.T + r @ w_fr.T + w_fc * c + b_f)
        c = f * c + i * torch.tanh(x_t @ w_cx.T + r @ w_cr.T + b_c)
        if clip is not None:
            c = c.clamp(-clip, clip)
        o = torch.sigmoid(x_t @ w_ox.T + r @ w_or.T + w_oc * c + b_o)
        m = o * torch.tanh(c)
        r = m if w_rm is None else m @ w_rm.T
        outputs.append(r if w_pm is None else torch.cat([r, m @ w_pm.T], 1))
    return torch.stack(outputs), c


def make(frames, streams, inputs, cells, rec, proj, peepholes, seed=0, dtype=torch.float64, scale=0.7):
    g = torch.Generator().manual_seed(seed)

    def random(*shape):
        return (scale * torch.randn(*shape, generator=g, dtype=dtype)).requires_grad_()

    width = rec or cells
    return [random(frames, streams, inputs), random(streams, width), random(streams, cells),
            random(4 * cells, inputs), random(4 * cells, width), random(4 * cells),
            random(3, cells) if peepholes else None, random(rec, cells) if rec else None,
            random(proj, cells) if proj else None]


def off(got, wanted):
    """Relative difference, in the Euclidean norm."""
    return float((got.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-9))
