#include "branch_hull/program.hpp"

#include <algorithm>
#include <cmath>

#include "linalg/parallel.hpp"
#include "linalg/product.hpp"

namespace nettrim::branch_hull {

UnitHull::UnitHull(const BranchHullProgram& given, int threads)
    : threads(threads),
      A(given.A, given.rows, given.h_size),
      D(given.D, given.rows * (given.own_dictionaries ? given.snapshots : 1), given.m_size),
      r(Vector::Zero(given.rows * given.snapshots)),
      v_signs(Vector::Ones(r.size())),
      kinds(given.kinds, given.kinds + r.size()),
      gauge(given.gauge) {
  if (given.v_signs != nullptr) v_signs = Eigen::Map<const Vector>(given.v_signs, rows());
  for (Index l = 0; l < rows(); ++l) {
    if (kinds[static_cast<std::size_t>(l)] == HullRow::hull) r[l] = given.r[l];
  }
  r_scale = r.maxCoeff() > 0 ? r.maxCoeff() : 1;
  r /= r_scale;
  if (given.slack_penalty != nullptr) {
    slack_penalty = Eigen::Map<const Vector>(given.slack_penalty, rows()) * D.scale();
  }
  if (given.tangent_ratio > 1)
    tangents.emplace(given.tangent_ratio, std::sqrt(A.scale() / D.scale()));
}

Vector UnitHull::v(const Vector& m) const {
  if (snapshots() == 1) return D.signal(m).cwiseProduct(v_signs);
  const Index rows = rows_of_one(), size = D.size();
  Vector v = Vector::Zero(r.size());
  parallel_for(snapshots(), threads_for_product(), [&](Index j, int) {
    add_product(D_of(j).transpose(), m.segment(j * size, size), v.segment(j * rows, rows));
  });
  return v.cwiseProduct(v_signs);
}

Vector UnitHull::pull_on_h(const Vector& p) const {
  return A.correlations(p.reshaped(rows_of_one(), snapshots()).rowwise().sum());
}

Vector UnitHull::pull_on_m(const Vector& q) const {
  const Vector signed_q = q.cwiseProduct(v_signs);
  if (snapshots() == 1) return D.correlations(signed_q);
  const Index rows = rows_of_one(), size = D.size();
  Vector pull = Vector::Zero(m_size());
  parallel_for(snapshots(), threads_for_product(), [&](Index j, int) {
    add_product(D_of(j), signed_q.segment(j * rows, rows), pull.segment(j * size, size));
  });
  return pull;
}

double UnitHull::size_of_h(const Vector& h) const {
  return gauge == Gauge::l1 ? h.lpNorm<1>() : h.norm();
}

double UnitHull::size_of_m(const Vector& m, const Vector& xi) const {
  if (gauge == Gauge::l2) return m.norm();
  return m.lpNorm<1>() + (has_slack() ? slack_penalty.dot(xi.cwiseAbs()) : 0);
}

double UnitHull::dual_size_of_h(const Vector& p) const {
  const Vector Ap = pull_on_h(p);
  return gauge == Gauge::l1 ? Ap.lpNorm<Eigen::Infinity>() : Ap.norm();
}

double UnitHull::dual_size_of_m(const Vector& q) const {
  const Vector Dq = pull_on_m(q);
  if (gauge == Gauge::l2) return Dq.norm();
  const double most = Dq.lpNorm<Eigen::Infinity>();
  return has_slack() ? std::max(most, q.cwiseAbs().cwiseQuotient(slack_penalty).maxCoeff()) : most;
}

double UnitHull::objective(double product) const {
  return gauge == Gauge::l1 ? 2 * std::sqrt(product) : 2 * product;
}

}  // namespace nettrim::branch_hull
