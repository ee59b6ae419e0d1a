#include "linalg/factor.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/QR>

#include "linalg/cholesky.hpp"

namespace nettrim {
namespace {

constexpr Index kSamplesPerPiece = 128;  // they stay in cache from one pass over them to the next
constexpr double kNearlyOrthogonal = 0.1;
constexpr Index kDiagonalBlock = 32;

// Forward substitution in blocks, all but the diagonal ones by matrix products.
class TriangularDivision {
 public:
  explicit TriangularDivision(Matrix<double> lower) : lower_(std::move(lower)) {
    for (Index i = 0; i < lower_.rows(); i += kDiagonalBlock) {
      auto block = diagonal(i);
      Matrix<double> inverse = Matrix<double>::Identity(block.rows(), block.cols());
      solve_from_left(block, inverse);
      block = inverse;
    }
  }

  void operator()(Part<double> rows) const {
    for (Index i = 0; i < lower_.rows(); i += kDiagonalBlock) {
      const Index size = std::min(kDiagonalBlock, lower_.rows() - i);
      auto block = rows.middleRows(i, size);
      add_product(lower_.block(i, 0, size, i), rows.topRows(i), block, -1);
      block = product(lower_.block(i, i, size, size), block);
    }
  }

 private:
  Eigen::Block<Matrix<double>> diagonal(Index i) {
    const Index size = std::min(kDiagonalBlock, lower_.rows() - i);
    return lower_.block(i, i, size, size);
  }

  Matrix<double> lower_;  // the inverse of each diagonal block in its place
};

}  // namespace

OrthogonalBasis::OrthogonalBasis(Index features, Index samples, const Piece& X, int threads)
    : threads_(threads),
      ranges_(cut(samples, kSamplesPerPiece, threads)),
      nearly_(features, samples) {
  if (!orthonormalise(X)) reflect(X);
}

// By Cholesky factors of Gram matrices, which are matrix products throughout. One such pass loses
// orthogonality with the square of the condition; a second one restores it if there is enough left
// (CholeskyQR2: Yamamoto et al., 2015).
bool OrthogonalBasis::orthonormalise(const Piece& X) {
  const Index n = nearly_.rows();
  Matrix<double> first = gram_of(n, ranges_, threads_, X);
  if (!cholesky(first)) return false;
  const TriangularDivision divide(first);
  rest_ = gram_of(n, ranges_, threads_, [&](Range r) {
    auto rows = nearly_.middleCols(r.begin, r.size);
    rows = X(r);
    divide(rows);
    return rows;
  });
  const Matrix<double> error = rest_ - Matrix<double>::Identity(n, n);
  if (!(error.triangularView<Eigen::Lower>().toDenseMatrix().norm() < kNearlyOrthogonal))
    return false;
  cholesky(rest_);
  lower_ = product(first, rest_);
  return true;
}

// By Householder reflections: for any X, at several times the work.
void OrthogonalBasis::reflect(const Piece& X) {
  const Index n = nearly_.rows();
  Matrix<double> columns(nearly_.cols(), n);
  for (const Range r : ranges_) columns.middleRows(r.begin, r.size) = X(r).transpose();
  const Eigen::HouseholderQR<Eigen::Ref<Matrix<double>>> qr(columns);
  lower_ = qr.matrixQR().topRows(n).transpose().triangularView<Eigen::Lower>();
  Matrix<double> basis = Matrix<double>::Identity(columns.rows(), n);
  basis.applyOnTheLeft(Eigen::householderSequence(columns, qr.hCoeffs()));
  nearly_ = basis.transpose();
  rest_ = Matrix<double>::Identity(n, n);
}

Matrix<double> OrthogonalBasis::coordinates(Index outputs, const Piece& Y) const {
  const Matrix<double> zero = Matrix<double>::Zero(outputs, nearly_.rows());
  auto products = parallel_total(ranges_, threads_, zero, [&](Range r, Matrix<double>& sum) {
    add_product(Y(r), nearly_.middleCols(r.begin, r.size).transpose(), sum);
  });
  solve_from_right(rest_, products);
  return products;
}

Matrix<double> OrthogonalBasis::samples(const Matrix<double>& coordinates) const {
  const Matrix<double> of_nearly =
      rest_.triangularView<Eigen::Lower>().solve<Eigen::OnTheRight>(coordinates);
  Matrix<double> samples(coordinates.rows(), nearly_.cols());
  parallel_over(ranges_, threads_, [&](Range r, int) {
    write_product(of_nearly, nearly_.middleCols(r.begin, r.size),
                  samples.middleCols(r.begin, r.size));
  });
  return samples;
}

// Twice, for the first time rounds.
Eigen::VectorXd orthogonal_part(const Matrix<double>& columns, const Eigen::VectorXd& x) {
  if (columns.rows() == 0) return x;
  const Eigen::ColPivHouseholderQR<Matrix<double>> qr(columns);
  Matrix<double> part = x;
  for (int time = 0; time < 2; ++time) {
    part.applyOnTheLeft(qr.householderQ().adjoint());
    part.topRows(qr.rank()).setZero();
    part.applyOnTheLeft(qr.householderQ());
  }
  return part;
}

std::vector<Index> independent_columns(const Matrix<double>& columns, double threshold) {
  Eigen::ColPivHouseholderQR<Matrix<double>> qr(columns);
  qr.setThreshold(threshold);
  const auto order = qr.colsPermutation().indices().head(qr.rank());
  return {order.begin(), order.end()};
}

double least_eigenvalue(const Matrix<double>& lower) {
  const Eigen::Tridiagonalization<Matrix<double>> reduced(lower);
  Eigen::SelfAdjointEigenSolver<Matrix<double>> eigen;
  eigen.computeFromTridiagonal(reduced.diagonal(), reduced.subDiagonal(), Eigen::EigenvaluesOnly);
  return eigen.eigenvalues()[0];
}

}  // namespace nettrim
