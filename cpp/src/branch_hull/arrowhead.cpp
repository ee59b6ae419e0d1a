#include "branch_hull/arrowhead.hpp"

#include <algorithm>

#include "linalg/cholesky.hpp"
#include "linalg/parallel.hpp"

namespace nettrim::branch_hull {
namespace {

constexpr double kRegular = 1e-16;   // of the largest diagonal entry
constexpr Index kSnapshotGrain = 8;  // snapshots whose parts are added before those of others

void regularise(Matrix<double>& lower) {
  lower.diagonal().array() += kRegular * lower.diagonal().maxCoeff();
}

// Of `times` products of a vector as long as m with the matrices of m and with h.
double operations_of(const UnitHull& p, Index times) {
  return 2.0 * static_cast<double>(times * p.D.size() * (p.D.size() + p.A.size()));
}

// The lower triangle of X diag(weights) X' + diag(own).
template <class Columns, class Own>
Matrix<double> weighted_gram(const Columns& X, const Vector& weights, const Own& own) {
  Matrix<double> gram = own.asDiagonal();
  const Vector roots = weights.cwiseMax(0).cwiseSqrt();
  add_gram(Matrix<double>(X * roots.asDiagonal()), gram);
  return gram;
}

}  // namespace

Arrowhead::Arrowhead(const UnitHull& program, const std::vector<Index>& rays)
    : p_(program),
      rays_(rays),
      factor_threads_(threads_worth(operations_of(program, program.rows()), program.threads)),
      solve_threads_(threads_worth(operations_of(program, program.snapshots()), program.threads)),
      on_ray_(static_cast<std::size_t>(program.rows()), 0),
      blocks_(static_cast<std::size_t>(program.snapshots())) {
  if (p_.has_slack()) {
    for (const Index l : rays) on_ray_[static_cast<std::size_t>(l)] = 1;
    return;
  }
  for (const Index l : rays) ++blocks_[static_cast<std::size_t>(l / p_.rows_of_one())].rays;
  for (std::size_t j = 1; j < blocks_.size(); ++j) {
    blocks_[j].first_ray = blocks_[j - 1].first_ray + blocks_[j - 1].rays;
  }
}

bool Arrowhead::factor(const Curvature& curvature) {
  write_products(p_.has_slack() ? without_slack(curvature) : curvature);
  std::vector<char> positive(blocks_.size());
  parallel_for(p_.snapshots(), factor_threads_,
               [&](Index j, int) { positive[static_cast<std::size_t>(j)] = factor_block(j); });
  if (std::find(positive.begin(), positive.end(), 0) != positive.end()) return false;
  core_ -= what_blocks_leave();
  regularise(core_);
  return cholesky(core_);
}

// Where v = 0, slack is -D m, and its own curvature becomes one of m.
Curvature Arrowhead::without_slack(const Curvature& c) {
  slack_own_ = c.own.tail(p_.rows());
  slack_uv_ = c.uv;
  slack_vv_ = c.vv;
  slack_all_ = slack_own_ + c.vv;
  const Vector left = slack_own_.cwiseQuotient(slack_all_);
  Curvature r = c;
  r.uu -= c.uv.cwiseProduct(c.uv).cwiseQuotient(slack_all_);
  r.uv = c.uv.cwiseProduct(left);
  r.vv = c.vv.cwiseProduct(left);
  for (const Index l : rays_) r.vv[l] = slack_own_[l];
  return r;
}

void Arrowhead::write_products(const Curvature& c) {
  const Index rows = p_.rows_of_one(), size = p_.D.size(), h_size = p_.A.size();
  const Matrix<double>& A = p_.A.entries();
  const Vector uv = c.uv.cwiseProduct(p_.v_signs);
  parallel_for(2 * p_.snapshots() + 1, factor_threads_, [&](Index task, int) {
    if (task == 0) {
      const Vector uu = c.uu.reshaped(rows, p_.snapshots()).rowwise().sum();
      core_ = weighted_gram(A, uu, c.own.head(h_size));
      return;
    }
    const Index j = (task - 1) / 2;
    Block& block = blocks_[static_cast<std::size_t>(j)];
    const auto D = p_.D_of(j);
    if (task % 2 == 1) {
      block.lower =
          weighted_gram(D, c.vv.segment(j * rows, rows), c.own.segment(h_size + j * size, size));
    } else {
      const Matrix<double> weighted = A * uv.segment(j * rows, rows).asDiagonal();
      block.h_with = product(weighted, D.transpose());
    }
  });
}

bool Arrowhead::factor_block(Index snapshot) {
  Block& block = blocks_[static_cast<std::size_t>(snapshot)];
  regularise(block.lower);
  if (!cholesky(block.lower)) return false;
  solve_from_right(block.lower, block.h_with);
  if (block.rays == 0) return true;
  block.with_rays.resize(p_.D.size(), block.rays);
  for (Index k = 0; k < block.rays; ++k) {
    const Index l = rays_[static_cast<std::size_t>(block.first_ray + k)];
    block.with_rays.col(k) = p_.D_of(snapshot).col(l - snapshot * p_.rows_of_one()) * p_.v_signs[l];
  }
  solve_from_left(block.lower, block.with_rays);
  block.ray_factor = Matrix<double>::Zero(block.rays, block.rays);
  add_gram(block.with_rays.transpose(), block.ray_factor);
  regularise(block.ray_factor);
  return cholesky(block.ray_factor);
}

Matrix<double> Arrowhead::what_blocks_leave() const {
  const Index h_size = p_.A.size();
  const auto add = [&](Range range, Matrix<double>& sum) {
    for (Index j = range.begin; j < range.begin + range.size; ++j) {
      const Block& block = blocks_[static_cast<std::size_t>(j)];
      add_gram(block.h_with, sum);
      if (block.rays == 0) continue;
      Matrix<double> taken = product(block.h_with, block.with_rays).transpose();
      solve_from_left(block.ray_factor, taken);
      add_gram(taken.transpose(), sum, -1);
    }
  };
  const Matrix<double> zero = Matrix<double>::Zero(h_size, h_size);
  return parallel_total(cut(p_.snapshots(), kSnapshotGrain, factor_threads_), factor_threads_, zero,
                        add);
}

void Arrowhead::solve(Vector& x, Vector& ray) const {
  const Index h_size = p_.A.size(), m_size = p_.m_size();
  const Vector right = x, right_ray = ray;
  if (p_.has_slack()) take_slack_out(x, ray);
  Vector m = x.segment(h_size, m_size);
  const Vector h = solve_factored(core_, x.head(h_size) - solve_blocks(m, ray));
  finish_blocks(h, m, ray);
  x.head(h_size) = h;
  x.segment(h_size, m_size) = m;
  if (p_.has_slack()) put_slack_back(x, ray);
}

void Arrowhead::take_slack_out(Vector& x, const Vector& ray) const {
  Vector share = x.tail(p_.rows()).cwiseQuotient(slack_all_);
  Vector on_v = slack_vv_.cwiseProduct(share);
  for (std::size_t k = 0; k < rays_.size(); ++k) {
    const Index l = rays_[k];
    on_v[l] = x[x.size() - p_.rows() + l] - slack_own_[l] * ray[static_cast<Index>(k)];
  }
  x.head(p_.A.size()) -= p_.pull_on_h(slack_uv_.cwiseProduct(share));
  x.segment(p_.A.size(), p_.m_size()) -= p_.pull_on_m(on_v);
}

void Arrowhead::put_slack_back(Vector& x, Vector& ray) const {
  const Vector u = p_.u(x.head(p_.A.size())), v = p_.v(x.segment(p_.A.size(), p_.m_size()));
  auto xi = x.tail(p_.rows());
  const Vector right = xi;
  xi = (right - slack_uv_.cwiseProduct(u) - slack_vv_.cwiseProduct(v)).cwiseQuotient(slack_all_);
  for (std::size_t k = 0; k < rays_.size(); ++k) {
    const Index l = rays_[k];
    double& multiplier = ray[static_cast<Index>(k)];
    xi[l] = multiplier - v[l];
    multiplier = right[l] - slack_own_[l] * xi[l];
  }
}

// With h = 0: L' m of every block, and its multipliers. Returns what they pull on h.
Vector Arrowhead::solve_blocks(Vector& m, Vector& ray) const {
  const Index size = p_.D.size();
  const auto add = [&](Range range, Vector& sum) {
    for (Index j = range.begin; j < range.begin + range.size; ++j) {
      const Block& block = blocks_[static_cast<std::size_t>(j)];
      auto own = m.segment(j * size, size);
      block.lower.triangularView<Eigen::Lower>().solveInPlace(own);
      if (block.rays > 0) {
        auto multipliers = ray.segment(block.first_ray, block.rays);
        multipliers = solve_factored(block.ray_factor,
                                     product(block.with_rays.transpose(), own) - multipliers);
        add_product(block.with_rays, multipliers, own, -1);
      }
      add_product(block.h_with, own, sum);
    }
  };
  const Vector zero = Vector::Zero(p_.A.size());
  return parallel_total(cut(p_.snapshots(), kSnapshotGrain, solve_threads_), solve_threads_, zero,
                        add);
}

void Arrowhead::finish_blocks(const Vector& h, Vector& m, Vector& ray) const {
  const Index size = p_.D.size();
  parallel_for(p_.snapshots(), solve_threads_, [&](Index j, int) {
    const Block& block = blocks_[static_cast<std::size_t>(j)];
    auto own = m.segment(j * size, size);
    Vector moved = product(block.h_with.transpose(), h);
    if (block.rays > 0) {
      const Vector change =
          solve_factored(block.ray_factor, product(block.with_rays.transpose(), moved));
      ray.segment(block.first_ray, block.rays) -= change;
      add_product(block.with_rays, change, moved, -1);
    }
    own -= moved;
    block.lower.triangularView<Eigen::Lower>().transpose().solveInPlace(own);
  });
}

}  // namespace nettrim::branch_hull
