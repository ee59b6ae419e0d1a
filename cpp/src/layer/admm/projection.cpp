#include "layer/admm/projection.hpp"

#include "linalg/factor.hpp"
#include "linalg/inverse.hpp"

namespace nettrim::layer {
namespace {

constexpr Index kColumnsPerPiece = 64;

// One accumulator per thread, added in order so that equal runs give equal bits.
template <class S>
class Accumulators {
 public:
  Accumulators(int threads, Index rows, Index cols)
      : parts_(static_cast<std::size_t>(threads), Matrix<S>(rows, cols)) {}
  Matrix<S>& of(int thread) { return parts_[static_cast<std::size_t>(thread)]; }
  void clear() {
    for (auto& part : parts_) part.setZero();
  }
  // The sum of some rows, in place of the first of them.
  auto total(Range r) {
    auto block = parts_[0].middleRows(r.begin, r.size);
    for (std::size_t t = 1; t < parts_.size(); ++t) block += parts_[t].middleRows(r.begin, r.size);
    return block;
  }

 private:
  std::vector<Matrix<S>> parts_;
};

// What both shapes share: the program, its cuts, and the back-projection sum_k state_k X_k'.
template <class S>
class ProjectionBase : public Projection<S> {
 protected:
  ProjectionBase(const UnitProgram<S>& p, const Eigen::VectorXd& proximal_weights)
      : p_(p),
        proximal_weights_(proximal_weights.cast<S>()),
        features_(cut(p.n_features(), kColumnsPerPiece, p.threads)),
        back_(p.threads, p.n_features(), p.n_outputs()) {}

  template <class Body>
  void over(const std::vector<Range>& ranges, Body&& body) const {
    parallel_for(static_cast<Index>(ranges.size()), p_.threads, [&](Index k, int thread) {
      body(k, ranges[static_cast<std::size_t>(k)], thread);
    });
  }

  const UnitProgram<S>& p_;
  Eigen::Vector<S, Eigen::Dynamic> proximal_weights_;
  std::vector<Range> features_;
  Accumulators<S> back_;
};

// U = (X'X + proximal)^{-1} (X' s1 + proximal s2), signal = XU:  4 samples features outputs
// + 2 features^2 outputs flops, X read twice.
template <class S>
class FeatureProjection final : public ProjectionBase<S> {
  using Base = ProjectionBase<S>;
  using Base::proximal_weights_, Base::back_, Base::features_, Base::p_;

 public:
  FeatureProjection(const UnitProgram<S>& p, const Eigen::VectorXd& proximal_weights)
      : Base(p, proximal_weights), rhs_(p.n_outputs(), p.n_features()) {
    inverse_ = inverse_of_definite(gram(proximal_weights), p.threads).template cast<S>();
  }

  void apply(const Pair<S>& state, Pair<S>& nearest, PieceWork& work) override {
    back_.clear();
    this->over(p_.samples, [&](Index k, Range r, int thread) {
      work.before(k);
      add_product(p_.X(r), state.signal.middleCols(r.begin, r.size).transpose(), back_.of(thread));
    });
    this->over(features_, [&](Index, Range r, int) {
      rhs_.middleCols(r.begin, r.size) =
          p_.x_scale * back_.total(r).transpose() +
          state.weights.middleCols(r.begin, r.size) *
              proximal_weights_.segment(r.begin, r.size).asDiagonal();
    });
    this->over(features_, [&](Index, Range r, int) {
      write_product(rhs_, inverse_.middleCols(r.begin, r.size),
                    nearest.weights.middleCols(r.begin, r.size));
    });
    rhs_ = p_.x_scale * nearest.weights;
    this->over(p_.samples, [&](Index k, Range r, int) {
      write_product(rhs_, p_.X(r), nearest.signal.middleCols(r.begin, r.size));
      work.after(k);
    });
  }

 private:
  Matrix<double> gram(const Eigen::VectorXd& proximal_weights) const {
    const auto X = [&](Range r) -> Matrix<double> {
      return p_.X(r).template cast<double>() * static_cast<double>(p_.x_scale);
    };
    Matrix<double> gram = gram_of(p_.n_features(), p_.samples, p_.threads, X);
    gram.diagonal() += proximal_weights;
    return gram;
  }

  Matrix<S> inverse_, rhs_;
};

// Fewer samples than features (Woodbury): with Q = (X proximal^{-1} X' + 1)^{-1} (s1 - X s2),
// U = s2 + proximal^{-1} X'Q and signal = s1 - Q.
template <class S>
class SampleProjection final : public ProjectionBase<S> {
  using Base = ProjectionBase<S>;
  using Base::proximal_weights_, Base::back_, Base::features_, Base::p_;

 public:
  SampleProjection(const UnitProgram<S>& p, const Eigen::VectorXd& proximal_weights)
      : Base(p, proximal_weights), misfit_(p.n_outputs(), p.n_samples()), solved_(misfit_) {
    const Matrix<double> X =
        proximal_weights.cwiseSqrt().cwiseInverse().asDiagonal() *
        (p.X({0, p.n_samples()}).template cast<double>() * static_cast<double>(p.x_scale));
    Matrix<double> gram = Matrix<double>::Zero(p.n_samples(), p.n_samples());
    add_gram(X.transpose(), gram);
    gram.diagonal().array() += 1;
    inverse_ = inverse_of_definite(gram, p.threads).template cast<S>();
  }

  void apply(const Pair<S>& state, Pair<S>& nearest, PieceWork& work) override {
    this->over(p_.samples, [&](Index k, Range r, int) {
      work.before(k);
      auto block = misfit_.middleCols(r.begin, r.size);
      write_product(state.weights, p_.X(r), block);
      block = state.signal.middleCols(r.begin, r.size) - p_.x_scale * block;
    });
    back_.clear();
    this->over(p_.samples, [&](Index k, Range r, int thread) {
      auto block = solved_.middleCols(r.begin, r.size);
      write_product(misfit_, inverse_.middleCols(r.begin, r.size), block);
      add_product(p_.X(r), block.transpose(), back_.of(thread));
      nearest.signal.middleCols(r.begin, r.size) = state.signal.middleCols(r.begin, r.size) - block;
      work.after(k);
    });
    this->over(features_, [&](Index, Range r, int) {
      nearest.weights.middleCols(r.begin, r.size) =
          state.weights.middleCols(r.begin, r.size) +
          p_.x_scale * back_.total(r).transpose() *
              proximal_weights_.segment(r.begin, r.size).cwiseInverse().asDiagonal();
    });
  }

 private:
  Matrix<S> inverse_, misfit_, solved_;
};

}  // namespace

template <class S>
std::unique_ptr<Projection<S>> make_projection(const UnitProgram<S>& p,
                                               const Eigen::VectorXd& proximal_weights) {
  if (p.n_features() > p.n_samples())
    return std::make_unique<SampleProjection<S>>(p, proximal_weights);
  return std::make_unique<FeatureProjection<S>>(p, proximal_weights);
}

template std::unique_ptr<Projection<float>> make_projection(const UnitProgram<float>&,
                                                            const Eigen::VectorXd&);
template std::unique_ptr<Projection<double>> make_projection(const UnitProgram<double>&,
                                                             const Eigen::VectorXd&);

}  // namespace nettrim::layer
