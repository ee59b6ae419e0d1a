#include "linalg/factor.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/QR>

#include "linalg/cholesky.hpp"

namespace nettrim {
namespace {

constexpr Index kSamplesPerPiece = 128;  // they stay in cache from one pass over them to the next
constexpr double kNearlyOrthogonal = 0.1;
constexpr Index kDiagonalBlock = 32, kPanel = 32;

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

// Reflections 1 - 2 vv' that bring columns to upper triangular form, one after the other. Their
// product is 1 - V S'^-1 V', S being the lower triangle of V'V with its diagonal halved (Puglisi,
// 1992): so it is applied by matrix products.
class Reflections {
 public:
  explicit Reflections(Part<double> columns)
      : V_(Matrix<double>::Zero(columns.rows(), columns.cols())) {
    for (Index j = 0; j < columns.cols(); ++j) {
      auto v = V_.col(j).tail(columns.rows() - j);
      auto left = columns.bottomRightCorner(columns.rows() - j, columns.cols() - j);
      v = left.col(0);
      const double size = v.norm();
      v[0] += v[0] < 0 ? -size : size;
      if (size > 0) {
        v.normalize();
      } else {
        v.setUnit(0);
      }
      add_product(v, product(left.transpose(), v).transpose(), left, -2);
    }
    S_ = Matrix<double>::Zero(columns.cols(), columns.cols());
    add_gram(V_.transpose(), S_);
    S_.diagonal() /= 2;
  }

  void apply(Part<double> C) const {
    Matrix<double> image = product(V_.transpose(), C);
    S_.triangularView<Eigen::Lower>().transpose().solveInPlace(image);
    add_product(V_, image, C, -1);
  }

  void apply_transposed(Part<double> C) const {
    Matrix<double> image = product(V_.transpose(), C);
    solve_from_left(S_, image);
    add_product(V_, image, C, -1);
  }

 private:
  Matrix<double> V_, S_;
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
  const Index n = nearly_.rows(), samples = nearly_.cols();
  Matrix<double> columns(samples, n);
  for (const Range r : ranges_) columns.middleRows(r.begin, r.size) = X(r).transpose();
  std::vector<Reflections> panels;
  for (Index k = 0; k < n; k += kPanel) {
    const Index width = std::min(kPanel, n - k), right = n - k - width;
    panels.emplace_back(columns.block(k, k, samples - k, width));
    panels.back().apply_transposed(columns.bottomRightCorner(samples - k, right));
  }
  lower_ = columns.topRows(n).transpose().triangularView<Eigen::Lower>();
  columns.setIdentity();
  for (auto k = static_cast<Index>(panels.size()); k-- > 0;) {
    panels[static_cast<std::size_t>(k)].apply(
        columns.bottomRightCorner(samples - k * kPanel, n - k * kPanel));
  }
  nearly_ = columns.transpose();
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
  const Index rows = qr.rows(), size = std::min(rows, qr.cols());
  Eigen::VectorXd part = x;
  double room;
  const auto reflect = [&](Index k) {
    part.tail(rows - k).applyHouseholderOnTheLeft(qr.matrixQR().col(k).tail(rows - k - 1),
                                                  qr.hCoeffs()[k], &room);
  };
  for (int time = 0; time < 2; ++time) {
    for (Index k = 0; k < size; ++k) reflect(k);
    part.head(qr.rank()).setZero();
    for (Index k = size; k-- > 0;) reflect(k);
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
