// The second-order cone { |(s1, s2)| <= s0 } in three dimensions: its Jordan algebra and the
// scaling of Nesterov and Todd, W z = W^-1 s = lambda (Vandenberghe, The CVXOPT linear and
// quadratic cone program solvers, 2010).
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

namespace nettrim::branch_hull {

using Vector3 = Eigen::Vector3d;
using Matrix3 = Eigen::Matrix3d;

inline Vector3 unit() { return {1, 0, 0}; }
inline Vector3 reflect(const Vector3& x) { return {x[0], -x[1], -x[2]}; }
inline double determinant(const Vector3& x) {
  const double tail = std::hypot(x[1], x[2]);
  return (x[0] - tail) * (x[0] + tail);
}
// The smaller eigenvalue: positive inside.
inline double depth(const Vector3& x) { return x[0] - std::hypot(x[1], x[2]); }

inline Vector3 product(const Vector3& x, const Vector3& y) {
  return {x.dot(y), x[0] * y[1] + y[0] * x[1], x[0] * y[2] + y[0] * x[2]};
}

// The y with product(x, y) = z.
inline Vector3 quotient(const Vector3& z, const Vector3& x) {
  const double first = reflect(x).dot(z) / determinant(x);
  return {first, (z[1] - first * x[1]) / x[0], (z[2] - first * x[2]) / x[0]};
}

// The largest step, at most `longest`, along d from x inside; x + step d is still in the cone.
inline double longest_step(const Vector3& x, const Vector3& d, double longest) {
  // In the frame of x the direction is rho, and the step 1 / (|rho tail| - rho head).
  const double size = std::sqrt(determinant(x));
  const Vector3 n = x / size, rd = reflect(n);
  const double head = rd.dot(d) / size;
  const double factor = (head + d[0] / size) / (n[0] + 1);
  const double speed = std::hypot(d[1] / size - factor * n[1], d[2] / size - factor * n[2]) - head;
  return speed * longest > 1 ? 1 / speed : longest;
}

struct Scaling {
  Matrix3 W, inverse;
  Vector3 lambda;

  Scaling() = default;
  Scaling(const Vector3& s, const Vector3& z) {
    const double det_s = determinant(s), det_z = determinant(z);
    const Vector3 a = s / std::sqrt(det_s), b = z / std::sqrt(det_z);
    const double gamma = std::sqrt((1 + a.dot(b)) / 2);
    const Vector3 w = (a + reflect(b)) / (2 * gamma);
    const Vector3 v = (w + unit()) / std::sqrt(2 * (w[0] + 1));
    const double beta = std::sqrt(std::sqrt(det_s / det_z));
    const Vector3 J(1, -1, -1);
    const Vector3 rv = reflect(v);
    W = 2 * v * v.transpose();
    W.diagonal() -= J;
    inverse = 2 * rv * rv.transpose();
    inverse.diagonal() -= J;
    W *= beta;
    inverse /= beta;
    lambda = W * z;
  }
};

}  // namespace nettrim::branch_hull
