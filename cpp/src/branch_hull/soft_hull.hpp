// The nearest points of hulls when slack has a penalty: where the multiplier of v would pass it, v
// moves no further and slack does the rest.
#pragma once

#include <algorithm>
#include <cmath>

#include "nettrim/hyperbola.hpp"

namespace nettrim::branch_hull {

// The root u >= max(a, 0) of (u - a) u^2 = c, by Newton's method from above.
inline double root_beside(double a, double c) {
  double u = std::max(a, 0.0) + std::cbrt(c);
  for (int k = 0; k < 50 && u > 0; ++k) {
    const double next = u - ((u - a) * u * u - c) / ((3 * u - 2 * a) * u);
    if (!(next < u * (1 - 1e-15))) break;
    u = next;
  }
  return u;
}

// free(i): how far v[i] may move, which is the penalty over the weight of a squared distance / 2.
template <class Free>
void project_onto_soft_hulls(Index n, const double* r, Free&& free, double* u, double* v) {
  const Eigen::VectorXd a = Eigen::Map<const Eigen::VectorXd>(u, n);
  const Eigen::VectorXd b = Eigen::Map<const Eigen::VectorXd>(v, n);
  project_onto_branch_hulls(n, r, u, v);
  for (Index i = 0; i < n; ++i) {
    const double most = free(i);
    if (v[i] - b[i] <= most) continue;
    v[i] = b[i] + most;
    u[i] = root_beside(a[i], most * r[i]);
  }
}

}  // namespace nettrim::branch_hull
