"""The losses as float64 loops over rows, and their gradients by central differences. Keywords make mutants of them."""

import numpy as np


def setting(a, b, valid_a=None, valid_b=None, group_a=None, group_b=None):
    """Similarities, valid pairs and positives, spelt out."""
    n, m = len(a), len(b)
    valid_a = np.ones(n, bool) if valid_a is None else valid_a
    valid_b = np.ones(m, bool) if valid_b is None else valid_b
    group_a, group_b = (np.arange(n), np.arange(m)) if group_a is None else (group_a, group_b)
    both, positive = np.zeros((n, m), bool), np.zeros((n, m), bool)
    for i, j in np.ndindex(n, m):
        both[i, j] = valid_a[i] and valid_b[j]
        positive[i, j] = both[i, j] and group_a[i] == group_b[j]
    a, b = np.where(valid_a[:, None], a, 0), np.where(valid_b[:, None], b, 0)
    return a @ b.T, both, positive


def log_sum_exp(x):
    return x.max() + np.log(np.exp(x - x.max()).sum())


def info_nce(a, b, scale, bias=None, *, target=None, ways=(False, True), inside=False, empty_rows=False, **rest):
    """`inside` puts the sum over positives inside the logarithm; `empty_rows` counts rows without a positive as 0."""
    cosine, both, positive = setting(a, b, **rest)
    weight = positive * 1.0 if target is None else np.where(both, target, 0.0)
    means = []
    for turned in ways:
        z, w, valid = (x.T if turned else x for x in (scale * cosine, weight, both))
        losses = []
        for i in range(len(z)):
            if w[i].sum() > 0:
                log_p = z[i] - log_sum_exp(z[i][valid[i]])
                share = w[i] / w[i].sum()
                losses.append(-np.log(share @ np.exp(log_p)) if inside else -share @ log_p)
            elif empty_rows and valid[i].any():
                losses.append(0.0)
        means.append(np.mean(losses) if losses else 0.0)
    return np.mean(means)


def sigmoid(a, b, scale, bias=None, *, over="rows", all_positive=False, **rest):
    cosine, both, positive = setting(a, b, **rest)
    z = scale * cosine + (0.0 if bias is None else bias)
    losses = []
    for i in range(len(z)):
        if positive[i].any():
            sign = np.where(positive[i] | all_positive, 1.0, -1.0)
            # -log sigmoid(x) = log(1 + exp(-x))
            losses.append(np.logaddexp(0.0, -sign * z[i])[both[i]].sum())
    if over == "pairs":
        return np.sum(losses) / both[positive.any(1)].sum()
    return np.mean(losses) if losses else 0.0


def margin_contrastive(a, b, scale=None, bias=None, *, margin=1.0, negatives="others", square=True, **rest):
    _, both, positive = setting(a, b, **rest)
    pulled, pushed = [], []
    for i, j in np.argwhere(both):
        if positive[i].any():
            distance = np.linalg.norm(a[i] - b[j])
            if positive[i, j]:
                pulled.append(distance**2)
            if not positive[i, j] or negatives == "all":
                pushed.append(max(margin - distance, 0.0) ** (2 if square else 1))
    return (np.mean(pulled) if pulled else 0.0) + (np.mean(pushed) if pushed else 0.0)


def triplet(a, b, scale=None, bias=None, *, margin=0.2, mining="hard", ways=(False, True), choose=min, **rest):
    cosine, both, positive = setting(a, b, **rest)
    total = 0.0
    for turned in ways:
        s, valid, pairs = (x.T if turned else x for x in (cosine, both, positive))
        losses = []
        for i in range(len(s)):
            if pairs[i].any():
                anchor = choose(s[i][pairs[i]])
                hinges = [max(0.0, margin + s[i, j] - anchor) for j in np.flatnonzero(valid[i] & ~pairs[i])]
                losses.append({"hard": max, "all": sum}[mining]([*hinges, 0.0]))
        total += np.mean(losses) if losses else 0.0
    return total


def gradients(loss, inputs, step=1e-6, **rest):
    """Central differences by every entry of every input; entries that are NaN get 0."""
    out = []
    for k, value in enumerate(inputs):
        value = np.asarray(value, np.float64)
        grad = np.zeros(value.shape)
        for place in np.ndindex(*value.shape):
            if np.isfinite(value[place]):
                ends = []
                for sign in (1, -1):
                    moved = value.copy()
                    moved[place] += sign * step
                    ends.append(loss(*inputs[:k], moved, *inputs[k + 1 :], **rest))
                grad[place] = (ends[0] - ends[1]) / (2 * step)
        out.append(grad)
    return out


def features(n, m, dim=5, seed=0, noise=0.5):
    """Unit rows in float64 whose first ones resemble each other pairwise."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, dim)), rng.normal(size=(m, dim))
    k = min(n, m)
    b[:k] = a[:k] + noise * b[:k]
    return [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
