#include "linalg/factor.hpp"

#include <Eigen/Cholesky>
#include <Eigen/QR>

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
      const Matrix<double> unit = Matrix<double>::Identity(block.rows(), block.cols());
      block = block.triangularView<Eigen::Lower>().solve(unit).eval();
    }
  }

  template <class Rows>
  void operator()(Rows& rows) const {
    for (Index i = 0; i < lower_.rows(); i += kDiagonalBlock) {
      const Index size = std::min(kDiagonalBlock, lower_.rows() - i);
      auto block = rows.middleRows(i, size);
      block.noalias() -= lower_.block(i, 0, size, i) * rows.topRows(i);
      block = (lower_.block(i, i, size, size) * block).eval();
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

Matrix<double> inverse_of_definite(const Matrix<double>& lower, int threads) {
  const Eigen::LLT<Matrix<double>> factor(lower);
  Matrix<double> inverse = Matrix<double>::Identity(lower.rows(), lower.cols());
  const auto columns = cut(lower.cols(), 128, threads);
  parallel_for(static_cast<Index>(columns.size()), threads, [&](Index k, int) {
    const Range r = columns[static_cast<std::size_t>(k)];
    auto block = inverse.middleCols(r.begin, r.size);
    factor.solveInPlace(block);
  });
  return inverse;
}

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
  const Eigen::LLT<Matrix<double>> first(gram_of(n, ranges_, threads_, X));
  if (first.info() != Eigen::Success) return false;
  const TriangularDivision divide(first.matrixL());
  const Matrix<double> gram = gram_of(n, ranges_, threads_, [&](Range r) {
    auto rows = nearly_.middleCols(r.begin, r.size);
    rows = X(r);
    divide(rows);
    return rows;
  });
  const Matrix<double> error = gram - Matrix<double>::Identity(n, n);
  if (!(error.triangularView<Eigen::Lower>().toDenseMatrix().norm() < kNearlyOrthogonal))
    return false;
  rest_ = Eigen::LLT<Matrix<double>>(gram).matrixL();
  lower_ = Matrix<double>(first.matrixL()) * rest_;
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
  basis.applyOnTheLeft(qr.householderQ());
  nearly_ = basis.transpose();
  rest_ = Matrix<double>::Identity(n, n);
}

Matrix<double> OrthogonalBasis::coordinates(Index outputs, const Piece& Y) const {
  const Matrix<double> zero = Matrix<double>::Zero(outputs, nearly_.rows());
  auto products = parallel_total(ranges_, threads_, zero, [&](Range r, Matrix<double>& sum) {
    sum.noalias() += Y(r) * nearly_.middleCols(r.begin, r.size).transpose();
  });
  rest_.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(products);
  return products;
}

Matrix<double> OrthogonalBasis::samples(const Matrix<double>& coordinates) const {
  const Matrix<double> of_nearly =
      rest_.triangularView<Eigen::Lower>().solve<Eigen::OnTheRight>(coordinates);
  Matrix<double> samples(coordinates.rows(), nearly_.cols());
  parallel_over(ranges_, threads_, [&](Range r, int) {
    samples.middleCols(r.begin, r.size).noalias() = of_nearly * nearly_.middleCols(r.begin, r.size);
  });
  return samples;
}

}  // namespace nettrim
