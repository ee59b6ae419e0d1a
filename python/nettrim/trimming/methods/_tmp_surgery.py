import numpy as np


class Trace:
    def __init__(self, readers):
        self.readers = readers
        n = readers.n_units
        H, U, G = [], [], []
        for r in readers.each:
            X = r.data.X
            h = X.T @ X
            h += 1e-3 * np.trace(h) / len(h) * np.eye(len(h))
            H.append(np.linalg.inv(h))
            U.append(r.data.weights.copy())
            G.append(r.factor)
        left = np.ones(n, bool)
        self.order, self.losses, self.snap = [], [0.0], {}
        members = [[np.flatnonzero(r.unit_of == g) for g in range(n)] for r in readers.each]
        for k in range(n - 1):
            cost = np.full(n, np.inf)
            for g in np.flatnonzero(left):
                c = 0
                for h, u, f, m in zip(H, U, G, members):
                    i = m[g]
                    if len(i):
                        c += f * 0.5 * np.sum(u[i] * np.linalg.solve(h[np.ix_(i, i)], u[i]))
                cost[g] = c
            g = int(np.argmin(cost))
            for q, (h, u, m) in enumerate(zip(H, U, members)):
                i = m[g]
                if len(i):
                    K = np.linalg.solve(h[np.ix_(i, i)], h[i]).T
                    u -= K @ u[i]
                    h -= K @ h[i]
                    u[i] = 0
                    h[i] = 0
                    h[:, i] = 0
                    h[i, i] = 1
            left[g] = False
            self.order.append(g)
            self.losses.append(self.losses[-1] + max(cost[g], 0))
            self.snap[k + 1] = [u.copy() for u in U]
        self.order.append(int(np.flatnonzero(left)[0]))
        self.losses.append(self.losses[-1] * 4 + 1)
        self.order, self.losses = np.array(self.order), np.array(self.losses)

    def weights(self, removed):
        return self.snap[removed]
