// Outside the hull the nearest point has the larger coordinate x with
//   x^4 - high x^3 + low r x - r^2 = 0,
// the smaller one being r / x. Scaled to r = 1 there is one positive root; it is at least
// max(high, 1), from where the quartic is convex: Newton's method descends to it from any upper
// bound (docs/mathematics/branch_hull.md#projection-onto-a-hull).
#include "nettrim/hyperbola.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace nettrim {
namespace {

constexpr Index kBlock = 128;  // points at a time: the loops below are for SIMD
constexpr int kMostSteps = 12;
constexpr double kSettled = 1e-15;  // relative change

// At least the cube root, and hardly more: a Newton step from a third of the exponent, in the
// single precision that SIMD units have integer arithmetic for.
inline double above_cube_root(double x) {
  const auto single = static_cast<float>(std::min(x, 1e37));
  std::int32_t bits;
  std::memcpy(&bits, &single, sizeof bits);
  bits = bits / 3 + 709921077;
  float root;
  std::memcpy(&root, &bits, sizeof root);
  root = (2 * root + single / (root * root)) * (1.0F / 3);
  return 1.000001 * static_cast<double>(root);
}

// An upper bound of the root, near it wherever one coordinate dominates.
inline double above_root(double high, double low) {
  const double below = std::max(-low, 0.0);
  const double cube = above_cube_root(1 + below);
  const double positive = std::max(2 * high, 1.26 * cube);
  const double inverse = 1 / std::max(high, 1.0);
  const double large = high + (inverse + below) * inverse * inverse;
  const double negative = std::min(cube, std::sqrt((1 + below) / std::max(-high, 1e-300)));
  const double bound = high > 0 ? positive : negative;
  return std::max(1.0, high >= 1 ? std::min(bound, large) : bound);
}

struct Block {
  double high[kBlock], low[kBlock], x[kBlock];
};

// One Newton step of every point; returns the largest relative change.
inline double step(Block& b, Index n) {
  double change = 0;
#pragma omp simd reduction(max : change)
  for (Index i = 0; i < n; ++i) {
    const double x = b.x[i], inverse = 1 / x, square = inverse * inverse;
    const double value = (x - b.high[i]) + (b.low[i] - inverse) * square;
    const double slope = 4 - 3 * b.high[i] * inverse + b.low[i] * inverse * square;
    const double next = std::max(std::max(b.high[i], 1.0), x - value / slope);
    change = std::max(change, std::abs(next - x) * inverse);
    b.x[i] = next;
  }
  return change;
}

void project_block(Index n, const double* r, double* u, double* v) {
  Block b;
#pragma omp simd
  for (Index i = 0; i < n; ++i) {
    const double root = std::sqrt(r[i]);
    const bool inside = u[i] >= 0 && v[i] >= 0 && u[i] * v[i] >= r[i];
    const double scale = inside || r[i] == 0 ? 0 : 1 / root;
    b.high[i] = std::max(u[i], v[i]) * scale;
    b.low[i] = std::min(u[i], v[i]) * scale;
    b.x[i] = above_root(b.high[i], b.low[i]);
  }
  for (int k = 0; k < kMostSteps && step(b, n) > kSettled; ++k) {
  }
#pragma omp simd
  for (Index i = 0; i < n; ++i) {
    const double a = u[i], c = v[i];
    const bool inside = a >= 0 && c >= 0 && a * c >= r[i];
    const double larger = b.x[i] * std::sqrt(r[i]), smaller = r[i] / larger;
    const double new_u = a >= c ? larger : smaller, new_v = a >= c ? smaller : larger;
    u[i] = inside ? a : std::max(a, r[i] == 0 ? 0.0 : new_u);
    v[i] = inside ? c : std::max(c, r[i] == 0 ? 0.0 : new_v);
  }
}

}  // namespace

void project_onto_branch_hulls(Index n, const double* r, double* u, double* v) {
  for (Index first = 0; first < n; first += kBlock) {
    project_block(std::min(kBlock, n - first), r + first, u + first, v + first);
  }
}

}  // namespace nettrim
