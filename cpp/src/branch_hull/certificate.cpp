// Of every feasible point and any multipliers p, q >= 0
// (docs/mathematics/branch_hull.md#the-dual-and-the-certificate)
//   |h| |(m, xi)| >= (sum sqrt(r p q))^2 / (|A'p|_* |D'q|_*):
// no multiplier has to be repaired. Of tangents, |h| + |m| >= sum of their least p u + q v, for p
// and q of dual norm 1.
#include <algorithm>
#include <cmath>

#include "branch_hull/program.hpp"

namespace nettrim::branch_hull {
namespace {

// How far v of a zero measurement may be on the wrong side of zero, over the largest: where others
// leave it no room but zero itself, the side is one of rounding.
constexpr double kZeroWidth = 1e-9;

// Tangents come at fixed slopes, so that no point may be balanced, and no pair of multipliers.
double tangent_bound(const UnitHull& program, const Vector& p, const Vector& q) {
  const double size_p = program.dual_size_of_h(p), size_q = program.dual_size_of_m(q);
  double sum = 0;
  for (Index l = 0; l < program.rows(); ++l) {
    if (program.r[l] == 0) continue;
    sum += std::sqrt(program.r[l]) * program.tangents->support(p[l] / size_p, q[l] / size_q);
  }
  return std::isnan(sum) ? 0 : sum;
}

}  // namespace

double dual_bound(const UnitHull& program, Vector& p, Vector& q) {
  double sum = 0;
  for (Index l = 0; l < program.rows(); ++l) {
    const HullRow kind = program.kinds[static_cast<std::size_t>(l)];
    p[l] = std::max(p[l], 0.0);
    if (kind == HullRow::missing) p[l] = 0;
    if (kind == HullRow::half_plane || kind == HullRow::missing) q[l] = 0;
    if (kind != HullRow::ray) q[l] = std::max(q[l], 0.0);
    sum += std::sqrt(program.r[l] * p[l] * q[l]);
  }
  if (!(sum > 0)) return 0;
  if (program.tangents) return tangent_bound(program, p, q);
  // One at a time: neither overflows where the multipliers run away.
  const double bound = (sum / program.dual_size_of_h(p)) * (sum / program.dual_size_of_m(q));
  return std::isnan(bound) ? 0 : program.objective(bound);
}

double make_feasible(const UnitHull& program, Vector& h, Vector& m, Vector& xi) {
  const Vector u = program.u(h), v = program.v(m, xi);
  const double width = kZeroWidth * v.cwiseAbs().maxCoeff();
  double share = kInfinity;  // of uv in r
  for (Index l = 0; l < program.rows(); ++l) {
    switch (program.kinds[static_cast<std::size_t>(l)]) {
      case HullRow::hull:
        if (!(u[l] > 0 && v[l] > 0)) return kInfinity;
        if (program.tangents) {
          const double reach = program.tangents->reach(u[l], v[l]);
          share = std::min(share, reach * reach / program.r[l]);
        } else {
          share = std::min(share, u[l] * v[l] / program.r[l]);
        }
        break;
      case HullRow::half_plane:
        if (u[l] < 0) return kInfinity;
        break;
      case HullRow::quadrant:
        if (u[l] < 0 || v[l] < -width) return kInfinity;
        break;
      case HullRow::ray:
        if (u[l] < 0 || std::abs(v[l]) > width) return kInfinity;
        break;
      case HullRow::missing:
        break;
    }
  }
  if (share == kInfinity) {  // nothing asks for more than zero
    h.setZero();
    m.setZero();
    xi.setZero();
    return 0;
  }
  const double size_h = program.size_of_h(h), size_m = program.size_of_m(m, xi);
  const double growth = 1 / std::sqrt(share);
  const double balance = program.tangents ? 1 : std::sqrt(size_m / size_h);
  h *= balance * growth;
  m *= growth / balance;
  xi *= growth / balance;
  return program.tangents ? (size_h + size_m) * growth : program.objective(size_h * size_m / share);
}

}  // namespace nettrim::branch_hull
