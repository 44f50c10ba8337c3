"""Compiled layers of networks, row by row. Pure: arrays in, new arrays out.

Each row is summed in one fixed order, whatever rows stand beside it: what a policy does never
depends on how many observations it is asked about together. (A matrix library chooses its order by
the size of the batch.)
"""

import math

import numpy as np
from numba import njit

NONE, TANH, RELU = 0, 1, 2


@njit(cache=True, nogil=True, error_model="numpy")
def dense(x, weight, bias, act):  # type: ignore[no-untyped-def]
    """[R, I] times [I, O] plus [O], then the activation: [R, O]."""
    R, I = x.shape  # noqa: E741
    O = weight.shape[1]  # noqa: E741
    out = np.empty((R, O))
    for r in range(R):
        for o in range(O):
            out[r, o] = bias[o]
        for i in range(I):
            v = x[r, i]
            for o in range(O):
                out[r, o] += v * weight[i, o]
        if act == TANH:
            for o in range(O):
                out[r, o] = math.tanh(out[r, o])
        elif act == RELU:
            for o in range(O):
                out[r, o] = max(out[r, o], 0.0)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def gru(x, state, w_in, b_in, w_state, b_state):  # type: ignore[no-untyped-def]
    """The state [R, H] after series [R, W, F]; gates in torch's order: reset, update, new.

    Source: Cho et al. (2014), in the form of torch.nn.GRU.

    Args:
        x: [R, W, F], oldest first.
        state: [R, H] before.
        w_in: [F, 3 H].
        b_in: [3 H].
        w_state: [H, 3 H].
        b_state: [3 H].
    """
    R, W, F = x.shape
    H = state.shape[1]
    out = state.copy()
    a = np.empty(3 * H)
    b = np.empty(3 * H)
    for r in range(R):
        for w in range(W):
            for o in range(3 * H):
                a[o] = b_in[o]
                b[o] = b_state[o]
            for f in range(F):
                v = x[r, w, f]
                for o in range(3 * H):
                    a[o] += v * w_in[f, o]
            for h in range(H):
                v = out[r, h]
                for o in range(3 * H):
                    b[o] += v * w_state[h, o]
            for h in range(H):
                reset = 1.0 / (1.0 + math.exp(-(a[h] + b[h])))
                update = 1.0 / (1.0 + math.exp(-(a[H + h] + b[H + h])))
                new = math.tanh(a[2 * H + h] + reset * b[2 * H + h])
                out[r, h] = (1.0 - update) * new + update * out[r, h]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def conv(x, weight, bias, dilation, act):  # type: ignore[no-untyped-def]
    """Causal convolution of [R, W, C] with [k, C, O] and [O]: [R, W, O]; nothing before the window.

    Place j of the kernel meets the bar (k - 1 - j) * dilation back.
    """
    R, W, C = x.shape
    k, _, O = weight.shape  # noqa: E741
    out = np.empty((R, W, O))
    for r in range(R):
        for w in range(W):
            for o in range(O):
                out[r, w, o] = bias[o]
            for j in range(k):
                at = w - (k - 1 - j) * dilation
                if at < 0:
                    continue
                for c in range(C):
                    v = x[r, at, c]
                    for o in range(O):
                        out[r, w, o] += v * weight[j, c, o]
            if act == TANH:
                for o in range(O):
                    out[r, w, o] = math.tanh(out[r, w, o])
            else:
                for o in range(O):
                    out[r, w, o] = max(out[r, w, o], 0.0)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def norm(x, gain, bias):  # type: ignore[no-untyped-def]
    """Layer normalisation of [R, d] (Ba et al., 2016), epsilon 1e-5."""
    R, d = x.shape
    out = np.empty((R, d))
    for r in range(R):
        mean = 0.0
        for i in range(d):
            mean += x[r, i]
        mean /= d
        var = 0.0
        for i in range(d):
            var += (x[r, i] - mean) ** 2
        scale = 1.0 / math.sqrt(var / d + 1e-5)
        for i in range(d):
            out[r, i] = (x[r, i] - mean) * scale * gain[i] + bias[i]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def attend(qkv, n, heads):  # type: ignore[no-untyped-def]
    """Attention between the n symbols of each row: [R * n, 3 d] to [R * n, d]."""
    d = qkv.shape[1] // 3
    size = d // heads
    out = np.zeros((len(qkv), d))
    score = np.empty(n)
    root = math.sqrt(size)
    for r in range(len(qkv) // n):
        base = r * n
        for h in range(heads):
            at = h * size
            for i in range(n):
                most = -np.inf
                for j in range(n):
                    s = 0.0
                    for c in range(size):
                        s += qkv[base + i, at + c] * qkv[base + j, d + at + c]
                    score[j] = s / root
                    most = max(most, score[j])
                total = 0.0
                for j in range(n):
                    score[j] = math.exp(score[j] - most)
                    total += score[j]
                for j in range(n):
                    part = score[j] / total
                    for c in range(size):
                        out[base + i, at + c] += part * qkv[base + j, 2 * d + at + c]
    return out
