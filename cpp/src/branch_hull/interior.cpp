#include "branch_hull/interior.hpp"

#include <algorithm>

#include "linalg/factor.hpp"
#include "linalg/freed_memory.hpp"
#include "linalg/parallel.hpp"

namespace nettrim::branch_hull {
namespace {

constexpr double kToBoundary = 0.995;  // share of the way that a step may go
constexpr double kShortest = 1e-10;    // a step that is none
constexpr double kDependent = 1e-10;   // of the largest pivot
constexpr int kRefinements = 1;        // without it multipliers end at 1e-9
constexpr Index kHullGrain = 10'000;   // hulls that are worth a thread
constexpr std::size_t kFreed = 8 << 20;

bool v_varies(const UnitHull& p, Index row) {
  const Index j = row / p.rows_of_one();
  return p.has_slack() || !p.D_of(j).col(row - j * p.rows_of_one()).isZero(0);
}

// Rows whose v = 0 does not follow from that of others of their snapshot.
std::vector<Index> independent(const UnitHull& p, const std::vector<Index>& rays, Index snapshot) {
  if (rays.empty()) return rays;
  const Index first = snapshot * p.rows_of_one();
  Matrix<double> columns(p.D.size(), static_cast<Index>(rays.size()));
  for (std::size_t k = 0; k < rays.size(); ++k) {
    columns.col(static_cast<Index>(k)) = p.D_of(snapshot).col(rays[k] - first);
  }
  std::vector<Index> chosen;
  for (const Index k : independent_columns(columns, kDependent)) {
    chosen.push_back(rays[static_cast<std::size_t>(k)]);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::vector<Index> rays_of(const UnitHull& p) {
  std::vector<Index> all;
  for (Index j = 0; j < p.snapshots(); ++j) {
    std::vector<Index> own;
    for (Index l = j * p.rows_of_one(); l < (j + 1) * p.rows_of_one(); ++l) {
      const bool ray = p.kinds[static_cast<std::size_t>(l)] == HullRow::ray;
      if (ray && v_varies(p, l)) own.push_back(l);
    }
    if (!p.has_slack()) own = independent(p, own, j);
    all.insert(all.end(), own.begin(), own.end());
  }
  return all;
}

}  // namespace

void Interior::Unknowns::add(double factor, const Unknowns& other) {
  x += factor * other.x;
  bound += factor * other.bound;
  ray += factor * other.ray;
}

void Interior::Cones::add(double factor, const Cones& other) {
  linear += factor * other.linear;
  for (std::size_t j = 0; j < hulls.size(); ++j) hulls[j] += factor * other.hulls[j];
}

Interior::Interior(const UnitHull& program)
    : p_(program),
      h_size_(program.A.size()),
      m_size_(program.m_size()),
      n_(h_size_ + m_size_ + program.slack_penalty.size()),
      bounded_(program.gauge == Gauge::l1),
      rays_(rays_of(program)),
      cost_(Vector::Ones(bounded_ ? n_ : 0)),
      arrow_(program, rays_) {
  keep_freed_memory(kFreed);
  if (p_.has_slack()) cost_.tail(p_.rows()) = p_.slack_penalty;
  for (Index l = 0; l < p_.rows(); ++l) {
    const HullRow kind = p_.kinds[static_cast<std::size_t>(l)];
    if (kind == HullRow::hull) {
      hulls_.push_back(l);
      continue;
    }
    if (kind == HullRow::missing) continue;
    // A row of zeros asks for nothing, and leaves no room inside its cone.
    if (!p_.A.entries().col(l % p_.rows_of_one()).isZero(0)) on_u_.push_back(l);
    if (kind == HullRow::quadrant && v_varies(p_, l)) on_v_.push_back(l);
  }
  const auto hulls = static_cast<Index>(hulls_.size());
  hull_ranges_ = cut(hulls, kHullGrain, hulls < kHullGrain ? 1 : p_.threads);
  // Multipliers that satisfy the bounds' part of stationarity, and points inside all cones.
  const auto bounds = cost_.size(), others = static_cast<Index>(on_u_.size() + on_v_.size());
  Cones& s = at_.s;
  Cones& z = at_.z;
  s.linear.resize(2 * bounds + others);
  s.linear << cost_.cwiseInverse(), cost_.cwiseInverse(), Vector::Ones(others);
  z.linear.resize(2 * bounds + others);
  z.linear << cost_ / 2, cost_ / 2, Vector::Ones(others);
  for (const Index l : hulls_) {
    const double root = std::sqrt(p_.r[l]);
    s.hulls.emplace_back(4 * root, 0, 2 * root);
    z.hulls.emplace_back(1, 0, -0.5);
  }
  at_.at = {Vector::Zero(n_), cost_.cwiseInverse(), Vector::Zero(static_cast<Index>(rays_.size()))};
}

Interior::Signals Interior::signals(const Vector& x) const {
  return {p_.u(x.head(h_size_)),
          p_.v(x.segment(h_size_, m_size_), x.tail(p_.slack_penalty.size()))};
}

Vector Interior::gather(const Signals& gradient) const {
  Vector x(n_);
  x.head(h_size_) = p_.pull_on_h(gradient.u);
  x.segment(h_size_, m_size_) = p_.pull_on_m(gradient.v);
  if (p_.has_slack()) x.tail(p_.rows()) = gradient.v;
  return x;
}

Interior::Cones Interior::apply(const Unknowns& at) const {
  const Signals signal = signals(at.x);
  Cones c{Vector(at_.s.linear.size()), std::vector<Vector3>(hulls_.size())};
  const Index bounds = at.bound.size();
  if (bounded_) {
    c.linear.head(bounds) = at.bound - at.x;
    c.linear.segment(bounds, bounds) = at.bound + at.x;
  }
  Index k = 2 * bounds;
  for (const Index l : on_u_) c.linear[k++] = signal.u[l];
  for (const Index l : on_v_) c.linear[k++] = signal.v[l];
  for (std::size_t j = 0; j < hulls_.size(); ++j) {
    const double u = signal.u[hulls_[j]], v = signal.v[hulls_[j]];
    c.hulls[j] = {u + v, u - v, 0};
  }
  return c;
}

Interior::Unknowns Interior::adjoint(const Cones& z) const {
  Signals gradient{Vector::Zero(p_.rows()), Vector::Zero(p_.rows())};
  const Index bounds = cost_.size();
  Index k = 2 * bounds;
  for (const Index l : on_u_) gradient.u[l] = z.linear[k++];
  for (const Index l : on_v_) gradient.v[l] = z.linear[k++];
  for (std::size_t j = 0; j < hulls_.size(); ++j) {
    gradient.u[hulls_[j]] = z.hulls[j][0] + z.hulls[j][1];
    gradient.v[hulls_[j]] = z.hulls[j][0] - z.hulls[j][1];
  }
  Unknowns out{gather(gradient), z.linear.head(bounds) + z.linear.segment(bounds, bounds),
               Vector::Zero(static_cast<Index>(rays_.size()))};
  if (bounded_) out.x += z.linear.segment(bounds, bounds) - z.linear.head(bounds);
  return out;
}

Interior::Unknowns Interior::apply_hessian(const Unknowns& at) const {
  Unknowns out{Vector::Zero(n_), Vector::Zero(cost_.size()), Vector::Zero(at.ray.size())};
  if (!bounded_) out.x = 2 * at.x;
  if (rays_.empty()) return out;
  const Vector v = signals(at.x).v;
  Signals multipliers{Vector::Zero(p_.rows()), Vector::Zero(p_.rows())};
  for (std::size_t j = 0; j < rays_.size(); ++j) {
    multipliers.v[rays_[j]] = at.ray[static_cast<Index>(j)];
    out.ray[static_cast<Index>(j)] = v[rays_[j]];
  }
  out.x += gather(multipliers);
  return out;
}

Interior::Cones Interior::weigh(const Cones& c) const {
  Cones out{c.linear.cwiseQuotient(linear_scaling_), c.hulls};
  over_hulls([&](std::size_t j) {
    out.hulls[j] = scalings_[j].inverse * (scalings_[j].inverse * c.hulls[j]);
  });
  return out;
}

Interior::Cones Interior::misfit() const {
  Cones off = apply(at_.at);
  for (std::size_t j = 0; j < hulls_.size(); ++j) off.hulls[j][2] += 2 * std::sqrt(p_.r[hulls_[j]]);
  off.add(-1, at_.s);
  return off;
}

// Bounds are eliminated: of h and m, slack and rays, arrow_ takes the rest.
bool Interior::factor() {
  const Index bounds = cost_.size();
  linear_scaling_ = at_.s.linear.cwiseQuotient(at_.z.linear);
  scalings_.resize(hulls_.size());
  Curvature c;
  c.uu = c.uv = c.vv = Vector::Zero(p_.rows());
  Index k = 2 * bounds;
  for (const Index l : on_u_) c.uu[l] = 1 / linear_scaling_[k++];
  for (const Index l : on_v_) c.vv[l] = 1 / linear_scaling_[k++];
  over_hulls([&](std::size_t j) {
    scalings_[j] = Scaling(at_.s.hulls[j], at_.z.hulls[j]);
    const Matrix3 H = scalings_[j].inverse * scalings_[j].inverse;
    const Index l = hulls_[j];
    c.uu[l] = H(0, 0) + 2 * H(0, 1) + H(1, 1);
    c.uv[l] = H(0, 0) - H(1, 1);
    c.vv[l] = H(0, 0) - 2 * H(0, 1) + H(1, 1);
  });
  c.own = Vector::Constant(n_, 2.0);
  if (bounded_) {
    c.own = 4 / (linear_scaling_.head(bounds) + linear_scaling_.segment(bounds, bounds)).array();
  }
  return arrow_.factor(c);
}

Interior::Unknowns Interior::solve(const Unknowns& right) const {
  const Index bounds = cost_.size();
  const Vector plus = linear_scaling_.head(bounds).cwiseInverse();
  const Vector minus = linear_scaling_.segment(bounds, bounds).cwiseInverse();
  Unknowns d = right;
  if (bounded_) d.x += (plus - minus).cwiseProduct(right.bound).cwiseQuotient(plus + minus);
  arrow_.solve(d.x, d.ray);
  if (bounded_) {
    d.bound = (right.bound + (plus - minus).cwiseProduct(d.x)).cwiseQuotient(plus + minus);
  }
  return d;
}

// Of Newton's equations
//   apply_hessian(d) - adjoint(dz) = -force,   ds = apply(d) + off,   ds + W^2 dz = target.
Interior::Step Interior::direction(const Unknowns& force, const Cones& off,
                                   const Cones& target) const {
  Cones shifted = target;
  shifted.add(-1, off);
  Unknowns right = adjoint(weigh(shifted));
  right.add(-1, force);
  Step d{solve(right), {}, {}};
  d.s = apply(d.at);
  shifted.add(-1, d.s);
  d.z = weigh(shifted);
  for (int k = 0; k < kRefinements; ++k) {
    Unknowns left = adjoint(d.z);
    left.add(-1, force);
    left.add(-1, apply_hessian(d.at));
    const Unknowns more = solve(left);
    const Cones more_s = apply(more);
    d.at.add(1, more);
    d.s.add(1, more_s);
    d.z.add(-1, weigh(more_s));
  }
  d.s.add(1, off);
  return d;
}

// Mehrotra's target: towards the centre, and against the second order of the affine step.
Interior::Cones Interior::corrected(const Cones& target, const Step& affine,
                                    double centering) const {
  Cones out = target;
  out.linear += (centering - affine.s.linear.cwiseProduct(affine.z.linear).array())
                    .matrix()
                    .cwiseQuotient(at_.z.linear);
  over_hulls([&](std::size_t j) {
    const Scaling& scaling = scalings_[j];
    const Vector3 second =
        product(scaling.inverse * affine.s.hulls[j], scaling.W * affine.z.hulls[j]);
    out.hulls[j] += scaling.W * quotient(centering * unit() - second, scaling.lambda);
  });
  return out;
}

// The share of a step, at most 1, that stays inside all cones.
double Interior::longest(const Step& d) const {
  double step = 1 / kToBoundary;
  const auto limit = [&](const Cones& x, const Cones& change) {
    for (Index k = 0; k < x.linear.size(); ++k) {
      if (-change.linear[k] * step > x.linear[k]) step = -x.linear[k] / change.linear[k];
    }
    for (std::size_t j = 0; j < hulls_.size(); ++j) {
      step = longest_step(x.hulls[j], change.hulls[j], step);
    }
  };
  limit(at_.s, d.s);
  limit(at_.z, d.z);
  return kToBoundary * step;
}

bool Interior::step() {
  if (!factor()) return false;
  Unknowns force = apply_hessian(at_.at);
  force.bound += cost_;
  force.add(-1, adjoint(at_.z));
  const Cones off = misfit();
  double product = at_.s.linear.dot(at_.z.linear);
  for (std::size_t j = 0; j < hulls_.size(); ++j) product += at_.s.hulls[j].dot(at_.z.hulls[j]);
  const double mu =
      product / static_cast<double>(at_.s.linear.size() + static_cast<Index>(hulls_.size()));

  Cones target = at_.s;
  target.add(-2, at_.s);
  const Step affine = direction(force, off, target);
  const double centering = mu * std::pow(1 - longest(affine), 3);
  const Step d = direction(force, off, corrected(target, affine, centering));
  const double length = longest(d);
  if (!(length > kShortest)) return false;
  at_.at.add(length, d.at);
  at_.s.add(length, d.s);
  at_.z.add(length, d.z);
  return at_.at.x.allFinite();
}

HullResult Interior::result() const {
  HullResult a;
  const Vector& x = at_.at.x;
  a.h = x.head(h_size_);
  a.m = x.segment(h_size_, m_size_);
  a.xi = x.tail(p_.slack_penalty.size());
  a.p = a.q = Vector::Zero(p_.rows());
  Index k = 2 * cost_.size();
  for (const Index l : on_u_) a.p[l] = at_.z.linear[k++];
  for (const Index l : on_v_) a.q[l] = at_.z.linear[k++];
  for (std::size_t j = 0; j < hulls_.size(); ++j) {
    a.p[hulls_[j]] = at_.z.hulls[j][0] + at_.z.hulls[j][1];
    a.q[hulls_[j]] = at_.z.hulls[j][0] - at_.z.hulls[j][1];
  }
  for (std::size_t j = 0; j < rays_.size(); ++j) a.q[rays_[j]] = -at_.at.ray[static_cast<Index>(j)];
  a.dual_bound = dual_bound(p_, a.p, a.q);
  a.objective = make_feasible(p_, a.h, a.m, a.xi);
  return a;
}

}  // namespace nettrim::branch_hull
