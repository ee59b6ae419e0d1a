#include "branch_hull/dictionary.hpp"

#include <cmath>
#include <random>

#include "linalg/cholesky.hpp"

namespace nettrim::branch_hull {
namespace {

constexpr int kProbes = 8;        // of random signs, to measure what is known by products
constexpr double kExact = 1e-11;  // residual of conjugate gradients, over their right-hand side
constexpr int kMostGradients = 200;

double positive(double scale) { return scale > 0 ? scale : 1; }

}  // namespace

Dictionary::Dictionary(const HullDictionary& given, Index rows, Index size)
    : rows_(rows), size_(size) {
  if (given.entries == nullptr) {
    products_ = given;
    measure(given);
    return;
  }
  const View<double> columns(given.entries, size, rows);
  // First by a power of two, which is exact: the squares of what is given may be no doubles.
  const double largest = columns.cwiseAbs().maxCoeff();
  const double unit = largest > 0 ? std::exp2(std::ilogb(largest)) : 1;
  entries_ = columns / unit;
  const double norm = positive(entries_.colwise().norm().maxCoeff());
  entries_ /= norm;
  scale_ = unit * norm;
  mean_square_ = entries_.squaredNorm() / static_cast<double>(size);
}

// The mean square of what random signs become is the squared norm of a row.
void Dictionary::measure(const HullDictionary& given) {
  std::mt19937 random(1);
  Vector probe(size_), signal(rows_), squares = Vector::Zero(rows_);
  for (int k = 0; k < kProbes; ++k) {
    for (double& sign : probe) sign = random() % 2 == 0 ? 1 : -1;
    given.signal(probe.data(), signal.data());
    squares += signal.cwiseAbs2() / kProbes;
  }
  scale_ = positive(std::sqrt(squares.maxCoeff()));
  mean_square_ = squares.sum() / (scale_ * scale_ * static_cast<double>(size_));
}

Vector Dictionary::signal(const Vector& coefficients) const {
  if (is_dense()) return product(entries_.transpose(), coefficients);
  Vector result(rows_);
  products_.signal(coefficients.data(), result.data());
  return result / scale_;
}

Vector Dictionary::correlations(const Vector& signal) const {
  if (is_dense()) return product(entries_, signal);
  Vector result(size_);
  products_.correlations(signal.data(), result.data());
  return result / scale_;
}

void RidgeSolver::set_ridge(double ridge) {
  if (ridge == ridge_) return;
  ridge_ = ridge;
  if (dictionary_.is_dense()) factor();
}

// Of the smaller of the two Gram matrices (Woodbury).
void RidgeSolver::factor() {
  const Matrix<double>& A = dictionary_.entries();
  const bool wide = A.rows() > A.cols();
  const Index n = wide ? A.cols() : A.rows();
  factor_ = Matrix<double>::Zero(n, n);
  if (wide) {
    add_gram(A.transpose(), factor_, share_);
  } else {
    add_gram(A, factor_, share_);
  }
  factor_.diagonal().array() += ridge_;
  cholesky(factor_);
}

Vector RidgeSolver::solve(const Vector& right, const Vector& guess) const {
  if (!dictionary_.is_dense()) return by_conjugate_gradients(right, guess);
  if (dictionary_.size() <= dictionary_.rows()) return solve_factored(factor_, right);
  const Vector inner = solve_factored(factor_, dictionary_.signal(right));
  return (right - share_ * dictionary_.correlations(inner)) / ridge_;
}

Vector RidgeSolver::by_conjugate_gradients(const Vector& right, const Vector& guess) const {
  const auto times = [&](const Vector& x) -> Vector {
    return share_ * dictionary_.correlations(dictionary_.signal(x)) + ridge_ * x;
  };
  Vector x = guess, rest = right - times(x), direction = rest;
  double size = rest.squaredNorm();
  const double enough = kExact * kExact * right.squaredNorm();
  for (int k = 0; k < kMostGradients && size > enough; ++k) {
    const Vector image = times(direction);
    const double step = size / direction.dot(image);
    x += step * direction;
    rest -= step * image;
    const double left = rest.squaredNorm();
    direction = rest + (left / size) * direction;
    size = left;
  }
  return x;
}

}  // namespace nettrim::branch_hull
