#include "quadratic/fit.hpp"

#include "linalg/cholesky.hpp"

namespace nettrim::quadratic {
namespace {

constexpr int kMostGradients = 60;    // steps of conjugate gradients
constexpr double kWorthwhile = 0.01;  // of a step: what it gains over what all have gained
// Steps of conjugate gradients whose multiplications Cholesky factors may cost; and where these
// gain time alone, as their multiplications are slower.
constexpr double kStepsWorth = 30, kFewSteps = 2;

using Features = std::vector<Index>;

// All outputs side by side, at unit size.
class ConjugateGradients {
 public:
  ConjugateGradients(const Forms& forms, const Matrix<float>& moments, const Mask& support,
                     Matrix<float> start)
      : forms_(forms),
        support_(support.cast<float>()),
        weights_(std::move(start)),
        image_(moments.rows(), moments.cols()) {
    multiply_by_gram(weights_);
    residual_ = (moments - image_).cwiseProduct(support_);
    direction_ = residual_;
    squares_ = residual_.rowwise().squaredNorm();
  }

  bool done() const { return last_gain_ <= kWorthwhile * gain_; }
  const Matrix<float>& weights() const { return weights_; }

  void step() {
    multiply_by_gram(direction_);
    image_.array() *= support_.array();
    const Eigen::VectorXf curvature = direction_.cwiseProduct(image_).rowwise().sum();
    const Eigen::VectorXf length = ratio(squares_, curvature), before = squares_;
    last_gain_ = length.cast<double>().dot(squares_.cast<double>());
    gain_ += last_gain_;
    weights_ += length.asDiagonal() * direction_;
    residual_ -= length.asDiagonal() * image_;
    squares_ = residual_.rowwise().squaredNorm();
    direction_ = residual_ + ratio(squares_, before).asDiagonal() * direction_;
  }

 private:
  void multiply_by_gram(const Matrix<float>& left) {
    const auto gram = [&](std::size_t k) -> const Matrix<float>& { return forms_.all()[k].gram; };
    multiply(forms_, left, gram, image_);
  }

  // Zero where an output has nothing left to gain.
  static Eigen::VectorXf ratio(const Eigen::VectorXf& a, const Eigen::VectorXf& b) {
    return (b.array() > 0).select(a.cwiseQuotient(b), 0.0F);
  }

  const Forms& forms_;
  const Matrix<float> support_;
  Matrix<float> weights_, image_, residual_, direction_;
  Eigen::VectorXf squares_;
  double gain_ = 0, last_gain_ = kInfinity;  // of twice the loss
};

Features features_of(const Mask& support, Index output) {
  Features result;
  for (Index i = 0; i < support.cols(); ++i) {
    if (support(output, i)) result.push_back(i);
  }
  return result;
}

bool are_factors_cheap(const Mask& support, double steps) {
  const auto features = static_cast<double>(support.cols());
  double cost = 0;
  for (Index output = 0; output < support.rows(); ++output) {
    const auto size = static_cast<double>(support.row(output).cast<Index>().sum());
    cost += size * size * size / 3;
  }
  return cost <= steps * features * features * static_cast<double>(support.rows());
}

// In double precision; features of length one, as those of a factor should be.
Eigen::VectorXd solve(const Form& form, const Features& features, const Eigen::VectorXd& moments) {
  const Eigen::VectorXd by = form.lengths(features).cwiseInverse();
  Matrix<double> gram = by.asDiagonal() * form.given(features, features) * by.asDiagonal();
  gram.diagonal().setOnes();
  cholesky(gram);
  return by.cwiseProduct(solve_factored(gram, by.cwiseProduct(moments(features))));
}

}  // namespace

Matrix<double> fit(const QuadraticProgram& p, const Forms& forms, const Matrix<float>& moments,
                   const Mask& support, Matrix<float> start, budget::StopFlag& stop) {
  if (!are_factors_cheap(support, p.rough ? kFewSteps : kStepsWorth)) {
    ConjugateGradients outputs(forms, moments, support, std::move(start));
    for (int k = 0; k < kMostGradients && !outputs.done(); ++k) {
      if (stop.poll(0) || stop.is_late()) break;
      outputs.step();
    }
    return forms.given_weights(outputs.weights());
  }
  Matrix<double> weights = forms.given_weights(start);
  const View<double> prior(p.prior, p.outputs, p.features);
  const View<double> correlations(p.correlations, p.outputs, p.features);
  forms.for_outputs([&](const Form& form, Index output, Index place, int thread) {
    if (stop.poll(thread) || stop.is_late()) return;
    const Features features = features_of(support, place);
    if (features.empty()) return;
    const Eigen::VectorXd asked = correlations.row(output) + form.ridge * prior.row(output);
    weights.row(output)(features) = solve(form, features, asked);
  });
  return weights;
}

}  // namespace nettrim::quadratic
